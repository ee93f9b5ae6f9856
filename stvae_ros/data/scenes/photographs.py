"""Training scenes made of photographs: cut-outs that move over a moving picture, with exact flow.

Unlike `synthetic`, whose scenes run for ever and also serve for evaluation and the demo, these are short and wild:
fast pans, zooms, turns and tilts about any point, acceleration, shake, noise, changes of light.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from stvae_ros.data.sequences import Item, Size, to_frames

_Matrix = NDArray[np.float64]
_Photo = NDArray[np.uint8]
_Layer = tuple[_Photo, _Photo | None, list[_Matrix]]
"""Texture, outline (None for the background), and for each frame the map from texture to frame."""
_STILL = 0.25
"""Share of scenes whose camera stands still."""


class PhotoScenes(Dataset[Item]):
    """Sequences of photographs in motion; items as `sequences` describes them.

    photos: (H, W, 3) uint8 RGB, each at least 64 pixels wide and high. count: items. length: predicted frames T.
    size: H and W. max_speed: of the camera and, besides, of each object, in pixels a frame. seed: another gives
    other scenes.
    """

    def __init__(
        self, photos: Sequence[_Photo], count: int, length: int, size: Size, max_speed: float, seed: int
    ) -> None:
        self.photos, self.count, self.length, self.size = photos, count, length, size
        self.max_speed, self.seed = max_speed, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng((self.seed, index))
        (height, width), steps = self.size, self.length + 1
        size = min(self.size)
        still = rng.uniform() < _STILL
        camera = [np.eye(3)] * steps if still else _path(rng, steps, size, self.max_speed, width / 2, height / 2, 1.0)
        placed = self._placed(rng, width / 2, height / 2)
        layers: list[_Layer] = [(self._photo(rng), None, [pose @ placed for pose in camera])]
        for _ in range(int(rng.integers(0, 7))):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            radius = size * float(rng.choice([0.04, 0.08, 0.16, 0.3])) * rng.uniform(0.7, 1.3)
            texture, alpha = self._cut_out(rng, radius)
            placed = _translation(x, y) @ _translation(-radius * 1.5, -radius * 1.5)
            own = [np.eye(3)] * steps
            if rng.uniform() < 0.8:
                own = _path(rng, steps, size, self.max_speed / 2, x, y, 0.5)
            layers.append((texture, alpha, [a @ b @ placed for a, b in zip(camera, own, strict=True)]))
        return self._render(rng, layers, steps)

    def _photo(self, rng: np.random.Generator) -> _Photo:
        return self.photos[int(rng.integers(len(self.photos)))]

    def _placed(self, rng: np.random.Generator, x: float, y: float) -> _Matrix:
        """A random part of a photo, turned and scaled, in the middle of the frame."""
        scale, angle = rng.uniform(0.6, 1.3), rng.normal(0, 0.2)
        middle = _translation(-rng.uniform(100, 380), -rng.uniform(60, 210))
        return _translation(x, y) @ _turned(scale, angle) @ middle

    def _cut_out(self, rng: np.random.Generator, radius: float) -> tuple[_Photo, _Photo]:
        """Texture and outline, (3 radius, 3 radius): a polygon or a blob, of a photo or nearly of one colour."""
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

    def _draw(self, layers: list[_Layer], t: int) -> tuple[_Photo, _Photo]:
        """Frame t and, for each pixel, which layer it shows."""
        size = self.size[::-1]
        image, owner = np.zeros((*self.size, 3), np.uint8), np.zeros(self.size, np.uint8)
        for index, (texture, alpha, poses) in enumerate(layers):
            drawn = cv2.warpPerspective(texture, poses[t], size, borderMode=cv2.BORDER_REFLECT_101)
            if alpha is None:
                image = drawn.astype(np.uint8, copy=False)
                continue
            mask = cv2.warpPerspective(alpha, poses[t], size)
            weight = mask[..., None].astype(np.float32) / 255
            image = (image + weight * (drawn.astype(np.float32) - image)).astype(np.uint8)
            owner[mask > 127] = index
        return image, owner

    def _truth(
        self, layers: list[_Layer], owners: Sequence[_Photo], t: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Backward flow from frame t + 1 to t, and where the pixel could be seen in frame t."""
        x, y = np.meshgrid(np.arange(self.size[1], dtype=np.float32), np.arange(self.size[0], dtype=np.float32))
        flow = np.zeros((*self.size, 2), np.float32)
        for index, (_, _, poses) in enumerate(layers):
            own = owners[t + 1] == index
            if not own.any():
                continue
            back = (poses[t] @ np.linalg.inv(poses[t + 1])).astype(np.float32)
            u, v, w = (row[0] * x[own] + row[1] * y[own] + row[2] for row in back)
            flow[own] = np.stack([u / w - x[own], v / w - y[own]], axis=1)
        source = cv2.remap(
            owners[t],
            x + flow[..., 0],
            y + flow[..., 1],
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(255,),
        )
        return flow, source == owners[t + 1]


def _lit(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Light, and noise of its own in every frame, in half of the scenes."""
    gain, bias = rng.uniform(0.7, 1.3), rng.uniform(-0.1, 0.1)
    frames = frames * gain + bias
    if rng.uniform() < 0.5:
        noise = rng.standard_normal(frames.shape, np.float32) * rng.uniform(0, 0.02)
        frames = frames + torch.from_numpy(noise)
    return frames.clamp(0, 1)


def _path(
    rng: np.random.Generator, steps: int, size: float, max_speed: float, x: float, y: float, amount: float
) -> list[_Matrix]:
    """Motion from frame to frame, as maps from the first frame to each.

    A velocity that changes slowly, zoom, turn and tilt about a point near (x, y), now and then a shaking hand.
    """
    speed = max_speed * rng.uniform() ** 2
    angle = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(angle), np.sin(angle) * rng.uniform()])
    acceleration = rng.normal(0, 0.06, 2) * speed
    zoom = amount * rng.choice([0.0, 0.02, 0.08]) * rng.normal()
    spin = amount * rng.choice([0.0, 0.01, 0.04]) * rng.normal()
    tilt = amount * rng.choice([0.0, 0.1]) * rng.normal(0, 1, 2) / size / 4
    shake = rng.choice([0.0, 0.0, 0.5])
    center = np.array([x, y]) + rng.normal(0, size / 4, 2)
    pose, poses = np.eye(3), [np.eye(3)]
    for t in range(1, steps):
        shift = velocity + acceleration * t + shake * rng.normal(0, 1, 2)
        turn = _turned(float(np.clip(np.exp(zoom), 0.8, 1.25)), spin)
        turn[2, :2] = tilt
        pose = _translation(*shift) @ _translation(*center) @ turn @ _translation(*-center) @ pose
        poses.append(pose)
    return poses


def _translation(x: float, y: float) -> _Matrix:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _turned(scale: float, angle: float) -> _Matrix:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
