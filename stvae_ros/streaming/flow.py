"""Dense flow as arrays: resizing, inverting and moving images with OpenCV.

Flow is (H, W, 2) float32 in pixels, x first. A *backward* flow b lives on the next frame's grid,
next(p) = current(p + b(p)); a *forward* flow f on the current frame's: the pixel p goes to p + f(p).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]
_Pixels = TypeVar("_Pixels", NDArray[np.uint8], NDArray[np.float32])


@lru_cache(maxsize=16)
def pixel_grid(height: int, width: int) -> Flow:
    """Coordinates of the pixels, (height, width, 2), x first; read-only."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    grid = np.stack([x, y], axis=-1)
    grid.flags.writeable = False
    return grid


def move(image: _Pixels, backward: Flow) -> _Pixels:
    """``image`` (H, W) or (H, W, C) sampled at p + backward(p), bilinear, the border repeated outside."""
    height, width = backward.shape[:2]
    positions = np.add(pixel_grid(height, width), backward)
    # OpenCV's own stubs do not know that one map of two channels needs no second.
    moved = cv2.remap(image, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(moved, image.dtype)


def look_up(values: NDArray[np.unsignedinteger], positions: Flow, outside: int) -> NDArray[np.unsignedinteger]:
    """``values`` (H, W) at the pixels nearest to ``positions`` (h, w, 2), x first; ``outside`` beyond the border."""
    found = cv2.remap(  # type: ignore[call-overload]
        values, positions, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(outside,)
    )
    return np.asarray(found, values.dtype)


def resize_flow(flow: Flow, width: int, height: int) -> Flow:
    """Resample to (height, width, 2) and scale the vectors to the new pixels."""
    h, w = flow.shape[:2]
    if (h, w) == (height, width):
        return flow
    scaled = flow * np.array([width / w, height / h], np.float32)
    return cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)


def invert_flow(backward: Flow, iterations: int = 4) -> Flow:
    """Forward flow from a backward one.

    A pixel p that arrives at q = p + f(p) was read from there: q + b(q) = p, hence f(p) = -b(p + f(p)),
    solved by fixed-point iteration from f = -b. Exact after one step for a constant flow; it converges
    where the flow is smooth and keeps one of the candidates at a motion boundary.
    """
    forward = -backward
    for _ in range(iterations):
        forward = -move(backward, forward).astype(np.float32, copy=False)
    return forward
