"""Synthetic scenes of textured shapes with exact flow, visibility and labels.

The camera pans, rotates and zooms over a textured background. Textured objects move, rotate, bounce off the image
border and occlude each other. Each layer moves by an affine transform in closed form, so the truth is exact at every
pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.media import Image
from stvae_ros.data.scenes.geometry import Matrix, visible_before

BACKGROUND, DISC, BOX, TRIANGLE, STAR = range(5)
CLASS_NAMES = ("background", "disc", "box", "triangle", "star")


@dataclass(frozen=True)
class SceneTruth:
    """Ground truth of the step from frame t to frame t + 1.

    Attributes:
        backward_flow: (H, W, 2) float32 pixels, x first, on the grid of t + 1: next(p) = current(p + flow(p)).
        forward_flow: (H, W, 2) float32 pixels, x first, on the grid of t: the pixel p moves to p + flow(p).
        visible: (H, W) bool on the grid of t + 1, True where the pixel is visible in frame t.
        labels: (H, W) uint8 on the grid of t, indices into `CLASS_NAMES`.
    """

    backward_flow: NDArray[np.float32]
    forward_flow: NDArray[np.float32]
    visible: NDArray[np.bool_]
    labels: Image


@dataclass(frozen=True)
class _Layer:
    """A texture and its motion.

    Attributes:
        texture: (h, w, 3) uint8 BGR.
        alpha: shape, (h, w) uint8, 255 where opaque; None for the background.
        label: index into `CLASS_NAMES`.
        start: position of the centre at t = 0, (x, y) pixels.
        velocity: (x, y) pixels per frame.
        sway: amplitude of a periodic motion, (x, y) pixels.
        angle: rotation at t = 0 in radians.
        spin: radians per frame; for the background, a tenth of the amplitude of a periodic rotation.
        zoom: amplitude of a periodic change of scale.
        period: period of the periodic motions in frames.
        box: (width, height) of the box off whose sides the centre bounces; None for no box.
    """

    texture: Image
    alpha: Image | None
    label: int
    start: tuple[float, float]
    velocity: tuple[float, float]
    sway: tuple[float, float]
    angle: float
    spin: float
    zoom: float
    period: float
    box: tuple[float, float] | None

    def pose(self, t: float) -> Matrix:
        """Transform from texture to image coordinates at time t, in frames."""
        phase = 2 * np.pi * t / self.period
        x = self.start[0] + self.velocity[0] * t + self.sway[0] * np.sin(phase)
        y = self.start[1] + self.velocity[1] * t + self.sway[1] * np.cos(phase)
        if self.box is not None:
            x, y = _bounce(x, self.box[0]), _bounce(y, self.box[1])
        angle = self.angle + (self.spin * t if self.alpha is not None else self.spin * np.sin(phase) * 10)
        scale = 1.0 + self.zoom * np.sin(phase)
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        center_x, center_y = (self.texture.shape[1] - 1) / 2, (self.texture.shape[0] - 1) / 2
        return np.array(
            [
                [cos, -sin, x - cos * center_x + sin * center_y],
                [sin, cos, y - sin * center_x - cos * center_y],
                [0.0, 0.0, 1.0],
            ]
        )


class SyntheticScene:
    """A synthetic scene; each frame is a pure function of the arguments and of t."""

    def __init__(
        self,
        seed: int,
        width: int = 320,
        height: int = 240,
        objects: int = 4,
        max_speed: float = 4.0,
        camera_motion: float = 1.0,
    ) -> None:
        """Creates the layers.

        Args:
            seed: seed of the scene, at least 0.
            width: width of the frames in pixels, at least 16.
            height: height of the frames in pixels, at least 16.
            objects: number of moving objects, 0 to 250.
            max_speed: largest speed of an object in pixels per frame.
            camera_motion: 0 for a fixed camera, 1 for a pan of up to ``max_speed`` / 2 with slight rotation and zoom.

        Raises:
            ValueError: an argument is out of range.
        """
        if width < 16 or height < 16:
            raise ValueError(f"a synthetic scene of {width}x{height} is too small: at least 16x16")
        if objects > 250:
            raise ValueError(f"a synthetic scene of {objects} objects are too many: at most 250")
        if seed < 0:
            raise ValueError(f"seed {seed} of a synthetic scene: seeds start at 0")
        if objects < 0 or max_speed < 0 or camera_motion < 0:
            raise ValueError("objects, max_speed and camera_motion must not be negative")
        self.width, self.height = width, height
        rng = np.random.default_rng(seed)
        self._layers = [_background(rng, width, height, max_speed, camera_motion)]
        for index in range(objects):
            self._layers.append(_moving_object(rng, width, height, max_speed, 1 + (index + seed) % 4))
        self._rendered: dict[int, tuple[Image, Image]] = {}

    def frame(self, t: int) -> Image:
        """Frame t, (H, W, 3) uint8 BGR; the caller owns the array."""
        return self._render(t)[0].copy()

    def truth(self, t: int) -> SceneTruth:
        """Ground truth of the step from frame t to frame t + 1."""
        owner, next_owner = self._render(t)[1], self._render(t + 1)[1]
        forward = self._flow(owner, t, t + 1)
        backward = self._flow(next_owner, t + 1, t)
        labels = np.array([layer.label for layer in self._layers], np.uint8)[owner]
        return SceneTruth(backward, forward, visible_before(owner, next_owner, backward), labels)

    def _render(self, t: int) -> tuple[Image, Image]:
        """Image and owner (index of the topmost layer of each pixel) of frame t; the last two results are cached."""
        if t not in self._rendered:
            self._rendered[t] = self._draw(t)
            while len(self._rendered) > 2:
                del self._rendered[next(iter(self._rendered))]
        return self._rendered[t]

    def _draw(self, t: int) -> tuple[Image, Image]:
        image = np.empty((self.height, self.width, 3), np.uint8)
        owner = np.zeros((self.height, self.width), np.uint8)
        for index, layer in enumerate(self._layers):
            pose = layer.pose(t)
            if layer.alpha is None:
                cv2.warpAffine(
                    layer.texture, pose[:2], (self.width, self.height), image, cv2.INTER_LINEAR, cv2.BORDER_WRAP
                )
                continue
            left, top, right, bottom = self._bounds(layer, pose)
            if left >= right or top >= bottom:
                continue
            shifted = pose[:2] - np.array([[0, 0, left], [0, 0, top]])
            box = (right - left, bottom - top)
            texture = cv2.warpAffine(layer.texture, shifted, box, borderMode=cv2.BORDER_REPLICATE)
            alpha = cv2.warpAffine(layer.alpha, shifted, box)
            region = image[top:bottom, left:right]
            weight = alpha[..., None].astype(np.uint16)
            region[:] = ((texture * weight + region * (255 - weight) + 127) // 255).astype(np.uint8)
            owner[top:bottom, left:right][alpha > 127] = index
        return image, owner

    def _bounds(self, layer: _Layer, pose: Matrix) -> tuple[int, int, int, int]:
        """Bounding box of a layer in the image: left, top, right, bottom."""
        height, width = layer.texture.shape[:2]
        corners = pose @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], float)
        left, top = np.floor(corners[:2].min(axis=1)).astype(int)
        right, bottom = np.ceil(corners[:2].max(axis=1)).astype(int) + 1
        return max(left, 0), max(top, 0), min(right, self.width), min(bottom, self.height)

    def _flow(self, owner: Image, start: int, end: int) -> NDArray[np.float32]:
        """Displacement of each pixel from time start to time end, by the motion of its layer; (H, W, 2)."""
        flow = np.empty((self.height, self.width, 2), np.float32)
        x = np.arange(self.width, dtype=np.float32)
        y = np.arange(self.height, dtype=np.float32)[:, None]
        for index, layer in enumerate(self._layers):
            pose = layer.pose(start)
            a = (layer.pose(end) @ np.linalg.inv(pose) - np.eye(3)).astype(np.float32)
            left, top, right, bottom = self._bounds(layer, pose) if index else (0, 0, self.width, self.height)
            if left >= right or top >= bottom:
                continue
            box = np.s_[top:bottom, left:right]
            own = owner[box] == index if index else True
            for axis in range(2):
                shift = a[axis, 0] * x[left:right] + (a[axis, 1] * y[top:bottom] + a[axis, 2])
                np.copyto(flow[..., axis][box], shift, where=own)
        return flow


def _bounce(position: float, limit: float) -> float:
    """Folds a straight path into [0, limit], like a ball that bounces between two walls."""
    position = position % (2 * limit)
    return position if position <= limit else 2 * limit - position


def _background(rng: np.random.Generator, width: int, height: int, max_speed: float, motion: float) -> _Layer:
    speed = motion * max_speed / 2
    direction = rng.uniform(0, 2 * np.pi)
    period = rng.uniform(60, 200)
    return _Layer(
        texture=_texture(rng, 2 * width, 2 * height, cell=max(min(width, height) / 6, 4)),
        alpha=None,
        label=BACKGROUND,
        start=(width / 2, height / 2),
        velocity=(speed * rng.uniform(0, 1) * np.cos(direction), speed * rng.uniform(0, 1) * np.sin(direction)),
        sway=(speed * rng.uniform(0, 0.4) * period / 7, speed * rng.uniform(0, 0.2) * period / 7),
        angle=rng.uniform(-0.3, 0.3),
        spin=motion * rng.uniform(-0.01, 0.01),
        zoom=motion * rng.uniform(-0.12, 0.12),
        period=period,
        box=None,
    )


def _moving_object(rng: np.random.Generator, width: int, height: int, max_speed: float, label: int) -> _Layer:
    radius = min(width, height) * rng.uniform(0.08, 0.2)
    side = max(int(2.4 * radius), 8)
    direction = rng.uniform(0, 2 * np.pi)
    speed = max_speed * np.sqrt(rng.uniform(0, 1))
    return _Layer(
        texture=_texture(rng, side, side, cell=max(radius / 2.5, 3)),
        alpha=_shape(rng, side, radius, label),
        label=label,
        start=(rng.uniform(0, width), rng.uniform(0, height)),
        velocity=(speed * np.cos(direction), speed * np.sin(direction)),
        sway=(0.0, 0.0),
        angle=rng.uniform(0, 2 * np.pi),
        spin=rng.uniform(-0.05, 0.05) * min(max_speed, 1.0),
        zoom=rng.uniform(-0.15, 0.15) * min(max_speed, 1.0),
        period=rng.uniform(60, 200),
        box=(float(width), float(height)),
    )


def _texture(rng: np.random.Generator, width: int, height: int, cell: float) -> Image:
    """Coloured noise of several octaves, periodic in both directions, with a few sharp discs and boxes."""
    texture = np.zeros((height, width, 3), np.float32)
    amplitude = 1.0
    while cell >= 2:
        rows, columns = max(round(height / cell), 2), max(round(width / cell), 2)
        noise = rng.normal(0, amplitude, (rows, columns, 3)).astype(np.float32)
        padded = np.pad(noise, ((2, 2), (2, 2), (0, 0)), mode="wrap")
        step_y, step_x = height / rows, width / columns
        matrix = np.array([[1 / step_x, 0, 2.0], [0, 1 / step_y, 2.0]])
        texture += cv2.warpAffine(padded, matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        cell, amplitude = cell / 2, amplitude * 0.6
    grey = texture.mean(axis=2, keepdims=True)
    texture = grey + rng.uniform(0.3, 1.0) * (texture - grey)
    texture = (texture - texture.mean()) / (texture.std() + 1e-6)
    image = np.clip(texture * rng.uniform(25, 50) + rng.uniform(80, 170, 3).astype(np.float32), 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 8))):
        color = rng.uniform(0, 255, 3).tolist()
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        extent = max(int(rng.uniform(0.03, 0.1) * min(width, height)), 1)
        if rng.uniform() < 0.5:
            cv2.circle(image, (x, y), extent, color, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(image, (x, y), (x + 2 * extent, y + extent), color, -1)
    return image


def _shape(rng: np.random.Generator, side: int, radius: float, label: int) -> Image:
    """Alpha of an object, (side, side) uint8, with an antialiased outline."""
    alpha = np.zeros((side, side), np.uint8)
    center = (side - 1) / 2
    corners = {DISC: 48, BOX: 4, TRIANGLE: 3, STAR: 10}[label]
    angles = np.arange(corners) * 2 * np.pi / corners
    radii = np.full(corners, radius)
    if label == STAR:
        radii[1::2] *= rng.uniform(0.4, 0.6)
    points = center + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    cv2.fillPoly(alpha, [np.round(points * 16).astype(np.int32)], (255,), cv2.LINE_AA, shift=4)
    return alpha
