"""The Middlebury colour code of optical flow: hue is direction, saturation is magnitude."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

# Number of colours between neighbouring primaries (Baker et al., "A Database and Evaluation Methodology for Optical
# Flow", IJCV 2011): red, yellow, green, cyan, blue, magenta, red.
_STEPS = (15, 6, 4, 11, 13, 6)
_PRIMARIES = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0))
_BINS = 256
"""Number of directions, and of magnitudes, in the colour table."""


@cache
def color_wheel() -> NDArray[np.float32]:
    """The 55 colours of the wheel, (55, 3) float32 RGB in [0, 255]; the first one, red, is motion to the right."""
    parts = []
    for steps, start, end in zip(_STEPS, _PRIMARIES, _PRIMARIES[1:], strict=False):
        weight = np.arange(steps, dtype=np.float32)[:, None] / steps
        parts.append((1 - weight) * np.array(start, np.float32) + weight * np.array(end, np.float32))
    return np.concatenate(parts)


def flow_to_color(flow: NDArray[np.float32], max_magnitude: float | None = None) -> NDArray[np.uint8]:
    """Draws flow: right is red, down is yellow, left is cyan, up is blue-violet, and no motion is white.

    Args:
        flow: (H, W, 2) pixels, x to the right, y down. Vectors that are not finite are drawn black.
        max_magnitude: length of full saturation in pixels; longer vectors are darker. None takes the longest vector.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    length, direction = cv2.cartToPolar(np.ascontiguousarray(flow[..., 0]), np.ascontiguousarray(flow[..., 1]))
    known = np.isfinite(length)
    if not known.all():
        length, direction = np.where(known, length, 0), np.where(known, direction, 0)
    full = float(length.max(initial=0.0)) if max_magnitude is None else max_magnitude
    length *= (_BINS - 1) / max(full, 1e-6)
    column = np.minimum(np.rint(length), _BINS).astype(np.intp)
    row = np.rint(direction * (_BINS / (2 * np.pi))).astype(np.intp) % _BINS
    colors = np.take(_table().reshape(-1, 3), row * (_BINS + 1) + column, axis=0)
    if not known.all():
        colors[~known] = 0
    return colors


def draw_wheel(image: NDArray[np.uint8], size: int) -> None:
    """Draw the legend of `flow_to_color` into the lower right corner of an image: the colour of each direction.

    Args:
        image: (H, W, 3) uint8 BGR, changed in place.
        size: of the wheel in pixels.
    """
    radius = (size - 1) / 2
    y, x = (np.mgrid[:size, :size].astype(np.float32) - radius) / radius
    wheel, inside = flow_to_color(np.stack((x, y), axis=-1), 1.0), np.hypot(x, y) <= 1
    corner = image[-size:, -size:]
    corner[inside] = wheel[inside]


@cache
def _table() -> NDArray[np.uint8]:
    """Colours by direction and magnitude, (256, 257, 3) BGR; the last magnitude stands for all longer vectors."""
    wheel = color_wheel() / 255
    position = np.arange(_BINS) / _BINS * (len(wheel) - 1)
    below = position.astype(int)
    fraction = (position - below)[:, None]
    hue = (1 - fraction) * wheel[below] + fraction * wheel[below + 1]
    magnitude = np.linspace(0, 1, _BINS)[None, :, None]
    inside = 1 - magnitude * (1 - hue[:, None])
    colors = np.concatenate([inside, 0.75 * hue[:, None]], axis=1)
    return np.floor(255 * colors[..., ::-1]).astype(np.uint8)
