"""Dense flow as arrays: resizing, inverting and warping with OpenCV.

Flow is (H, W, 2) float32 in pixels, x first. A *backward* flow b is on the grid of the next frame:
next(p) = current(p + b(p)). A *forward* flow f is on the grid of the current frame: the pixel p moves to p + f(p).
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
    """Coordinates of all pixels, (height, width, 2), x first; read-only."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    grid = np.stack([x, y], axis=-1)
    grid.flags.writeable = False
    return grid


def move(image: _Pixels, backward: Flow) -> _Pixels:
    """Warp ``image`` (H, W) or (H, W, C): sample it at p + backward(p), bilinear. The border is repeated outside."""
    height, width = backward.shape[:2]
    positions = np.add(pixel_grid(height, width), backward)
    # The type stubs of OpenCV demand a second map. One map of two channels needs none.
    moved = cv2.remap(image, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(moved, image.dtype)


def look_up(values: NDArray[np.unsignedinteger], positions: Flow, outside: int) -> NDArray[np.unsignedinteger]:
    """Read ``values`` (H, W) at the nearest pixels of ``positions`` (h, w, 2), x first; ``outside`` off the image."""
    found = cv2.remap(  # type: ignore[call-overload]
        values, positions, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(outside,)
    )
    return np.asarray(found, values.dtype)


def resize_flow(flow: Flow, width: int, height: int) -> Flow:
    """Resample flow to (height, width, 2), in pixels of the new size."""
    h, w = flow.shape[:2]
    if (h, w) == (height, width):
        return flow
    scaled = flow * np.array([width / w, height / h], np.float32)
    return cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)


def invert_flow(backward: Flow, iterations: int = 4) -> Flow:
    """Compute the forward flow of a backward flow.

    A pixel p moves to q = p + f(p), and q + b(q) = p. Hence f(p) = -b(p + f(p)), which is solved by fixed-point
    iteration from f = -b. One iteration is exact for a constant flow. The iteration converges where the flow is smooth,
    and keeps one of the candidates at a motion boundary.
    """
    forward = -backward
    for _ in range(iterations):
        forward = -move(backward, forward).astype(np.float32, copy=False)
    return forward
