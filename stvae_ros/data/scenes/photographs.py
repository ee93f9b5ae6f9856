"""Training scenes from photographs: cut-outs that move over a moving photograph, with exact flow.

Scenes of `shapes` have no end and also serve evaluation and the demo. These scenes are short and have stronger motion:
fast pans, zooms, rotations and tilts about any point, acceleration, shake, noise and changes of brightness.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from stvae_ros.data.media import Image
from stvae_ros.data.scenes.geometry import Matrix, rotation, translation, visible_before
from stvae_ros.data.sequences import Item, Size, to_frames

_Layer = tuple[Image, Image | None, list[Matrix]]
"""Texture, alpha (None for the background), and the transform from texture to frame for each frame."""
_STILL = 0.25
"""Share of scenes with a fixed camera."""


class PhotoScenes(Dataset[Item]):
    """Sequences of moving photographs; the items are those of `stvae_ros.data.sequences`."""

    def __init__(
        self, photos: Sequence[Image], count: int, length: int, size: Size, max_speed: float, seed: int
    ) -> None:
        """Sets up the data set.

        Args:
            photos: (H, W, 3) uint8 RGB, each at least 64 pixels wide and high.
            count: number of items.
            length: number of predicted frames T.
            size: height and width of the frames in pixels.
            max_speed: largest speed of the camera, and of each object relative to the scene, in pixels per frame.
            seed: seed of the scenes.
        """
        self.photos, self.count, self.length, self.size = photos, count, length, size
        self.max_speed, self.seed = max_speed, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng((self.seed, index))
        (height, width), steps = self.size, self.length + 1
        side = min(self.size)
        still = rng.uniform() < _STILL
        camera = [np.eye(3)] * steps if still else _path(rng, steps, side, self.max_speed, width / 2, height / 2, 1.0)
        placed = self._placed(rng, width / 2, height / 2)
        layers: list[_Layer] = [(self._photo(rng), None, [pose @ placed for pose in camera])]
        for _ in range(int(rng.integers(0, 7))):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            radius = side * float(rng.choice([0.04, 0.08, 0.16, 0.3])) * rng.uniform(0.7, 1.3)
            texture, alpha = self._cut_out(rng, radius)
            placed = translation(x, y) @ translation(-radius * 1.5, -radius * 1.5)
            own = [np.eye(3)] * steps
            if rng.uniform() < 0.8:
                own = _path(rng, steps, side, self.max_speed / 2, x, y, 0.5)
            layers.append((texture, alpha, [a @ b @ placed for a, b in zip(camera, own, strict=True)]))
        return self._render(rng, layers, steps)

    def _photo(self, rng: np.random.Generator) -> Image:
        return self.photos[int(rng.integers(len(self.photos)))]

    def _placed(self, rng: np.random.Generator, x: float, y: float) -> Matrix:
        """Transform that puts a random part of a photo, rotated and scaled, into the middle of the frame."""
        scale, angle = rng.uniform(0.6, 1.3), rng.normal(0, 0.2)
        middle = translation(-rng.uniform(100, 380), -rng.uniform(60, 210))
        return translation(x, y) @ rotation(scale, angle) @ middle

    def _cut_out(self, rng: np.random.Generator, radius: float) -> tuple[Image, Image]:
        """Texture and alpha of a polygon or blob, (3 radius, 3 radius); a part of a photo or nearly uniform."""
        side = max(int(3 * radius), 4)
        photo = self._photo(rng)
        scale = rng.uniform(0.5, 1.5)
        top = rng.uniform(0, photo.shape[0] / 2)
        left = rng.uniform(0, photo.shape[1] / 2)
        matrix = np.array([[1 / scale, 0, left], [0, 1 / scale, top]])
        texture = cv2.warpAffine(
            photo,
            matrix,
            (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        if rng.uniform() < 0.3:
            texture = (0.3 * texture + 0.7 * rng.uniform(0, 255, 3)).astype(np.uint8)
        corners = int(rng.choice([3, 4, 4, 6, 9, 16]))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radii = radius * rng.uniform(0.5, 1.4, corners) * rng.uniform(0.4, 1, 2)[:, None]
        points = side / 2 + np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], axis=1)
        alpha = np.zeros((side, side), np.uint8)
        cv2.fillPoly(alpha, [np.round(points * 16).astype(np.int32)], (255,), cv2.LINE_AA, shift=4)
        if rng.uniform() < 0.5:
            blurred = cv2.GaussianBlur(alpha, (0, 0), max(radius / 8, 0.5)).astype(np.float32)
            alpha = np.clip((blurred - 96) * 4, 0, 255).astype(np.uint8)
        return texture.astype(np.uint8), alpha

    def _render(self, rng: np.random.Generator, layers: list[_Layer], steps: int) -> Item:
        images, owners = zip(*(self._draw(layers, t) for t in range(steps)), strict=True)
        truths = [self._truth(layers, owners, t) for t in range(steps - 1)]
        flow = np.stack([flow for flow, _ in truths])
        return {
            "frames": _lit(to_frames(images), rng),
            "flow": torch.from_numpy(flow).permute(0, 3, 1, 2).contiguous(),
            "flow_known": torch.from_numpy(np.stack([known for _, known in truths])),
        }

    def _draw(self, layers: list[_Layer], t: int) -> tuple[Image, Image]:
        """Frame t, and the index of the topmost layer of each pixel."""
        height, width = self.size
        image, owner = np.zeros((*self.size, 3), np.uint8), np.zeros(self.size, np.uint8)
        for index, (texture, alpha, poses) in enumerate(layers):
            drawn = cv2.warpPerspective(texture, poses[t], (width, height), borderMode=cv2.BORDER_REFLECT_101)
            if alpha is None:
                image = drawn.astype(np.uint8, copy=False)
                continue
            mask = cv2.warpPerspective(alpha, poses[t], (width, height))
            weight = mask[..., None].astype(np.float32) / 255
            image = (image + weight * (drawn.astype(np.float32) - image)).astype(np.uint8)
            owner[mask > 127] = index
        return image, owner

    def _truth(
        self, layers: list[_Layer], owners: Sequence[Image], t: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Backward flow from frame t to t + 1, and where the pixel is visible in frame t."""
        x, y = np.meshgrid(np.arange(self.size[1], dtype=np.float32), np.arange(self.size[0], dtype=np.float32))
        flow = np.zeros((*self.size, 2), np.float32)
        for index, (_, _, poses) in enumerate(layers):
            own = owners[t + 1] == index
            if not own.any():
                continue
            back = (poses[t] @ np.linalg.inv(poses[t + 1])).astype(np.float32)
            u, v, w = (row[0] * x[own] + row[1] * y[own] + row[2] for row in back)
            flow[own] = np.stack([u / w - x[own], v / w - y[own]], axis=1)
        return flow, visible_before(owners[t], owners[t + 1], flow)


def _lit(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Random brightness and contrast and, in half of the scenes, noise."""
    gain, bias = rng.uniform(0.7, 1.3), rng.uniform(-0.1, 0.1)
    frames = frames * gain + bias
    if rng.uniform() < 0.5:
        noise = rng.standard_normal(frames.shape, np.float32) * rng.uniform(0, 0.02)
        frames = frames + torch.from_numpy(noise)
    return frames.clamp(0, 1)


def _path(
    rng: np.random.Generator, steps: int, side: float, max_speed: float, x: float, y: float, amount: float
) -> list[Matrix]:
    """Random motion: a slowly changing velocity; zoom, rotation and tilt about a point near (x, y); sometimes shake.

    Args:
        rng: source of random numbers.
        steps: number of frames.
        side: shorter side of the frame in pixels.
        max_speed: largest speed in pixels per frame.
        x: column of the point in pixels.
        y: row of the point in pixels.
        amount: strength of zoom, rotation and tilt.

    Returns:
        The transform from the first frame to each frame.
    """
    speed = max_speed * rng.uniform() ** 2
    angle = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(angle), np.sin(angle) * rng.uniform()])
    acceleration = rng.normal(0, 0.06, 2) * speed
    zoom = amount * rng.choice([0.0, 0.02, 0.08]) * rng.normal()
    spin = amount * rng.choice([0.0, 0.01, 0.04]) * rng.normal()
    tilt = amount * rng.choice([0.0, 0.1]) * rng.normal(0, 1, 2) / side / 4
    shake = rng.choice([0.0, 0.0, 0.5])
    center = np.array([x, y]) + rng.normal(0, side / 4, 2)
    pose, poses = np.eye(3), [np.eye(3)]
    for t in range(1, steps):
        shift = velocity + acceleration * t + shake * rng.normal(0, 1, 2)
        turn = rotation(float(np.clip(np.exp(zoom), 0.8, 1.25)), spin)
        turn[2, :2] = tilt
        pose = translation(*shift) @ translation(*center) @ turn @ translation(*-center) @ pose
        poses.append(pose)
    return poses
