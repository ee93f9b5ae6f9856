"""Textures of 3-D scenes: one atlas with mipmaps, made of procedural patterns and, if wanted, of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.media import Image

TEXELS, LEVELS = 512, 9
"""Side of a texture, and number of its mipmap levels: 512, 256, ... 2."""
_COLUMNS = 8
"""Textures side by side in the atlas."""
LEVEL_X = np.array([0, *(TEXELS + TEXELS // 2 - TEXELS // 2 ** (level - 1) for level in range(1, LEVELS))], np.float32)
LEVEL_Y = np.array([0, 0, *[TEXELS // 2] * (LEVELS - 2)], np.float32)
"""Corner of each level in the tile of a texture, in pixels of the atlas."""

_PATTERNS = (
    *("road", "facade", "facade", "facade", "facade", "facade", "facade", "brick", "brick", "tiles", "tiles"),
    *("planks", "planks", "concrete", "concrete", "concrete", "leaves", "leaves", "grass", "noise", "noise", "noise"),
    *("noise", "noise", "noise", "cloth", "cloth", "stripes", "checker", "clouds"),
)


class Textures:
    """An atlas of textures. All textures have a mean near 128."""

    def __init__(self, photographs: Sequence[Image] = ()) -> None:
        """Creates the procedural textures, the same at each call, and adds photographs.

        Args:
            photographs: (H, W, 3) uint8 BGR. Walls, boxes, vehicles and posters show parts of them.
        """
        rng = np.random.default_rng(0)
        images = [_MAKERS[name](rng) for name in _PATTERNS]
        kinds = list(_PATTERNS)
        for photo in photographs:
            images.append(_square(photo))
            kinds.append("photo")
        self.kinds = {kind: [i for i, other in enumerate(kinds) if other == kind] for kind in dict.fromkeys(kinds)}
        rows = -(-len(images) // _COLUMNS)
        self.atlas = np.zeros((rows * TEXELS, _COLUMNS * TEXELS * 3 // 2, 3), np.uint8)
        index = np.arange(len(images))
        self.tile_x = (index % _COLUMNS * (TEXELS * 3 // 2)).astype(np.float32)
        self.tile_y = (index // _COLUMNS * TEXELS).astype(np.float32)
        for image, x, y in zip(images, self.tile_x.astype(int), self.tile_y.astype(int), strict=True):
            for level in range(LEVELS):
                top, left, side = y + int(LEVEL_Y[level]), x + int(LEVEL_X[level]), TEXELS >> level
                self.atlas[top : top + side, left : left + side] = image
                image = cv2.resize(image, (side // 2, side // 2), interpolation=cv2.INTER_AREA).astype(
                    np.uint8, copy=False
                )

    def pick(self, rng: np.random.Generator, *kinds: str) -> int:
        """Draws a texture of one of several kinds; a kind that is missing is left out."""
        return int(rng.choice([i for kind in kinds for i in self.kinds.get(kind, [])]))


@lru_cache(maxsize=1)
def procedural() -> Textures:
    """The textures without photographs; they are the same on every machine."""
    return Textures()


def installed_photographs() -> list[Image]:
    """The colour photographs that scikit-image and scikit-learn bring along, where these are installed."""
    photos = []
    for package, folder in (("skimage", "data"), ("sklearn", "datasets/images")):
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted((Path(root) / folder).glob("*.[jp][pn]g")):
                image = cv2.imread(str(path))
                if image is not None and min(image.shape[:2]) >= 256:
                    photos.append(image.astype(np.uint8, copy=False))
    return photos


def _square(photo: Image) -> Image:
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    crop = photo[top : top + side, left : left + side]
    mode = cv2.INTER_AREA if side > TEXELS else cv2.INTER_CUBIC
    return cv2.resize(crop, (TEXELS, TEXELS), interpolation=mode).astype(np.uint8, copy=False)


def _fractal(rng: np.random.Generator, cell: float, keep: float = 0.6, stretch: float = 1.0) -> NDArray[np.float32]:
    """Noise of several octaves, (TEXELS, TEXELS) with mean 0 and deviation 1; ``cell`` texels is its largest scale."""
    total = np.zeros((TEXELS, TEXELS), np.float32)
    amplitude = 1.0
    while cell >= 1.5:
        shape = max(round(TEXELS / cell), 2), max(round(TEXELS / cell / stretch), 2)
        noise = rng.standard_normal(shape, np.float32)
        total += amplitude * cv2.resize(noise, (TEXELS, TEXELS), interpolation=cv2.INTER_CUBIC)
        cell, amplitude = cell / 2, amplitude * keep
    return (total - total.mean()) / total.std()


def _colored(
    grey: NDArray[np.float32], contrast: float, color: Sequence[float] | NDArray[np.float64] = (128, 128, 128)
) -> Image:
    return np.clip(np.asarray(color) + contrast * grey[..., None], 0, 255).astype(np.uint8)


def _road(rng: np.random.Generator) -> Image:
    """Asphalt 11 m wide and 16 m long, with lines. Patches and cracks give it structure at several scales."""
    image = _colored(0.7 * _fractal(rng, 8, 0.9) + 0.5 * _fractal(rng, 200), 14, (112, 112, 110))
    for _ in range(12):
        x, y, w, h = rng.integers(0, TEXELS, 4) // (1, 1, 6, 4)
        tone = int(rng.integers(80, 140))
        patch = np.full((h + 8, w + 8, 3), tone, np.uint8)
        area = image[y : y + h + 8, x : x + w + 8]
        area[:] = cv2.addWeighted(area, 0.6, patch[: area.shape[0], : area.shape[1]], 0.4, 0)
    for _ in range(6):
        points = np.cumsum(rng.normal(0, 18, (12, 2)), axis=0) + rng.uniform(0, TEXELS, 2)
        cv2.polylines(image, [points.astype(np.int32)], False, (70, 70, 70), 1, cv2.LINE_AA)
    for column in (92, 420):
        cv2.line(image, (column, 0), (column, TEXELS), (215, 215, 215), 6)
    cv2.line(image, (256, 0), (256, 250), (225, 225, 225), 6)
    return image


def _facade(rng: np.random.Generator) -> Image:
    """Four windows in each of four floors on plaster or bricks."""
    plaster = rng.uniform(110, 165) + rng.uniform(-30, 30) * np.array([-1, 0.1, 1]) + rng.normal(0, 8, 3)
    wall = _brick(rng) if rng.uniform() < 0.4 else _colored(_fractal(rng, 120, 0.75), 9, plaster)
    cell = TEXELS // 4
    width, height = int(cell * rng.uniform(0.35, 0.6)), int(cell * rng.uniform(0.45, 0.65))
    frame, glass = rng.uniform(60, 240, 3), rng.uniform(25, 70, 3)
    for row in range(4):
        cv2.line(wall, (0, row * cell), (TEXELS, row * cell), (frame * 0.8).tolist(), 3)
        for column in range(4):
            x, y = column * cell + (cell - width) // 2, row * cell + (cell - height) // 2
            cv2.rectangle(wall, (x - 4, y - 4), (x + width + 4, y + height + 4), frame.tolist(), -1)
            lit = glass + rng.uniform(0, 70)
            cv2.rectangle(wall, (x, y), (x + width, y + height), lit.tolist(), -1)
            curtain = int(height * rng.uniform(0, 0.6))
            cv2.rectangle(wall, (x, y), (x + width, y + curtain), (lit + rng.uniform(10, 90)).tolist(), -1)
            cv2.line(wall, (x + width // 2, y), (x + width // 2, y + height), frame.tolist(), 4)
            cv2.line(wall, (x, y + height // 3), (x + width, y + height // 3), frame.tolist(), 3)
            cv2.rectangle(wall, (x - 8, y + height + 4), (x + width + 8, y + height + 10), (frame * 0.7).tolist(), -1)
    return wall


def _brick(rng: np.random.Generator) -> Image:
    rows, columns = 32, 16
    tone = rng.normal(0, 14, (rows, columns, 1)) + rng.normal(0, 4, (rows, columns, 3))
    image = np.kron(tone, np.ones((TEXELS // rows, TEXELS // columns, 1))) + rng.uniform([50, 60, 110], [100, 110, 170])
    image[1::32] = image[::32] = image[16::32] = image[17::32] = 165
    for row in range(rows):
        start = row * TEXELS // rows
        image[start : start + TEXELS // rows, (row % 2) * 16 :: 32] = 165
    return np.clip(image + 7 * _fractal(rng, 16, 0.8)[..., None], 0, 255).astype(np.uint8)


def _tiles(rng: np.random.Generator) -> Image:
    count = int(rng.choice([4, 8, 16]))
    tone = np.kron(rng.normal(0, 10, (count, count, 1)), np.ones((TEXELS // count, TEXELS // count, 1)))
    image = tone + rng.uniform(100, 170, 3) + 8 * _fractal(rng, 60)[..., None]
    for start in range(0, TEXELS, TEXELS // count):
        image[start : start + 4] = image[:, start : start + 4] = 90
    return np.clip(image, 0, 255).astype(np.uint8)


def _planks(rng: np.random.Generator) -> Image:
    grain = _fractal(rng, 40, 0.8, 0.06) + np.kron(rng.normal(0, 0.8, (1, 8)), np.ones((TEXELS, TEXELS // 8)))
    image = _colored(grain.astype(np.float32), 16, rng.uniform([60, 90, 120], [110, 140, 180]))
    image[:, :: TEXELS // 8] = image[:, 1 :: TEXELS // 8] = 50
    return image


def _speckled(rng: np.random.Generator, low: Sequence[float], high: Sequence[float], contrast: float) -> Image:
    image = _colored(_fractal(rng, rng.choice([12, 30, 60]), 0.85), contrast, rng.uniform(low, high)).astype(np.int16)
    return np.clip(image + 5 * _fractal(rng, 30)[..., None] * rng.uniform(0.5, 1.5, 3), 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator) -> Image:
    cell = float(rng.choice([24, 60, 150]))
    channels = np.stack([_fractal(rng, cell) for _ in range(3)], axis=-1)
    grey = channels.mean(axis=2, keepdims=True)
    image = 128 + rng.uniform(25, 50) * (grey * 1.5 + rng.uniform(0.2, 0.9) * (channels - grey))
    image = np.clip(image, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 30))):
        x, y = rng.integers(0, TEXELS, 2).tolist()
        cv2.circle(image, (x, y), int(rng.integers(4, 30)), rng.uniform(0, 255, 3).tolist(), -1, cv2.LINE_AA)
    return image


def _regular(rng: np.random.Generator, checker: bool) -> Image:
    count = 16
    index = np.arange(TEXELS) * count // TEXELS
    grid = ((index[:, None] * checker + index) % 2) * 2.0 - 1
    return _colored((grid + 0.2 * _fractal(rng, 40)).astype(np.float32), 60)


_MAKERS = {
    "road": _road,
    "facade": _facade,
    "brick": _brick,
    "tiles": _tiles,
    "planks": _planks,
    "concrete": lambda rng: _speckled(rng, [124, 126, 128], [136, 136, 136], 12),
    "leaves": lambda rng: _speckled(rng, [45, 100, 50], [75, 130, 100], 38),
    "grass": lambda rng: _speckled(rng, [50, 105, 70], [70, 125, 95], 24),
    "noise": _noise,
    "cloth": lambda rng: _speckled(rng, [120] * 3, [136] * 3, 22),
    "stripes": lambda rng: _regular(rng, checker=False),
    "checker": lambda rng: _regular(rng, checker=True),
    "clouds": lambda rng: _colored(np.maximum(_fractal(rng, 220, 0.55), -0.6), 40, (150, 150, 150)),
}
