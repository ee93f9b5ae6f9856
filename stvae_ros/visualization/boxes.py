"""Boxes drawn on an image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_COLORS = ((0, 200, 255), (80, 220, 80), (255, 120, 0), (200, 80, 255), (255, 220, 0), (60, 60, 255))
"""BGR."""


def draw_boxes(image: NDArray[np.uint8], boxes: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.uint8]:
    """Draw named boxes.

    Args:
        image: (H, W) grey or (H, W, 3) BGR.
        boxes: left, top, right and bottom edges in pixels, (N, 4).
        names: of the boxes. Each name has one colour in all images.

    Returns:
        A new image, (H, W, 3) BGR.
    """
    drawn = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
    height, width = image.shape[:2]
    for box, name in zip(np.clip(boxes, -1, max(height, width)).round().astype(int).tolist(), names, strict=True):
        color = _COLORS[sum(name.encode()) % len(_COLORS)]
        left, top, right, bottom = box
        cv2.rectangle(drawn, (left, top), (right - 1, bottom - 1), color, 2)
        cv2.putText(drawn, name, (left + 3, top + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, 1, cv2.LINE_AA)
    return np.asarray(drawn, np.uint8)
