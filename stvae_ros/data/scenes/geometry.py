"""Transforms of the image plane, and visibility of pixels from one frame to the next."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
"""3x3 matrix of a transform in homogeneous pixel coordinates."""


def translation(x: float, y: float) -> Matrix:
    """Translation by (x, y) pixels."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def rotation(scale: float, angle: float) -> Matrix:
    """Rotation by ``angle`` radians about the origin, and scaling."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def visible_before(
    owner: NDArray[np.uint8], next_owner: NDArray[np.uint8], flow: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Tells which pixels of a frame are visible in the frame before.

    Args:
        owner: index of the topmost layer of each pixel of the frame before, (H, W).
        next_owner: the same for the frame itself.
        flow: backward flow of the frame, (H, W, 2) pixels.

    Returns:
        (H, W) bool, True where the flow leads to a pixel of the same layer.
    """
    height, width = owner.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    source = cv2.remap(
        owner,
        x + flow[..., 0],
        y + flow[..., 1],
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(255,),
    )
    return source == next_owner
