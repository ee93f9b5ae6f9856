"""Titled panels in a grid, and overlays."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_TITLE_HEIGHT = 22


def as_bgr(image: NDArray[np.generic]) -> Image:
    """Converts an image to (H, W, 3) uint8 BGR.

    Args:
        image: (H, W) or (H, W, 3) uint8; or (H, W) float in [0, 1], drawn as a heat map.
    """
    if image.dtype != np.uint8:
        return cv2.applyColorMap((np.clip(image, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(np.uint8)
    pixels = image.astype(np.uint8, copy=False)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def grid(panels: Mapping[str, NDArray[np.generic]], columns: int, width: int) -> Image:
    """Draws titled panels in rows.

    Args:
        panels: images by title, see `as_bgr`; all have the same aspect ratio.
        columns: number of panels per row; the last row is filled with black.
        width: width of a panel in pixels.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    cells = [_titled(title, as_bgr(image), width) for title, image in panels.items()]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)])


def overlay(image: NDArray[np.generic], colors: Image | None) -> Image:
    """Blends an image half and half with colours (H, W, 3) where these are not black; None draws the image alone."""
    base = as_bgr(image)
    if colors is None:
        return base
    return np.where(colors.any(axis=2, keepdims=True), base // 2 + colors // 2, base)


def _titled(title: str, image: Image, width: int) -> Image:
    height = round(image.shape[0] * width / image.shape[1] / 2) * 2
    interpolation = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_LINEAR
    panel = cv2.resize(image, (width, height), interpolation=interpolation)
    bar = np.full((_TITLE_HEIGHT, width, 3), 32, np.uint8)
    cv2.putText(bar, title, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([bar, panel]).astype(np.uint8, copy=False)
