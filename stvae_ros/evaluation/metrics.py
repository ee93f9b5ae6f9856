"""Figures of merit of predictions and of flow."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

PSNR_CAP = 60.0
"""dB given to an exact prediction, whose PSNR is infinite, so that means stay finite."""
MOVING = 0.5
"""Pixels a frame from which on something counts as moving."""
_STILL = 2.0
"""Grey levels by which what stands still may change from frame to frame, as a mean over 7x7 pixels."""
_TEXTURE = 8.0
"""Grey levels of standard deviation over 7x7 pixels from which on moving would show."""
_STANDING = 0.5
"""Share of what has texture that stands still when the camera does."""


def psnr(prediction: NDArray[np.uint8], truth: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio of 8-bit images of one shape in dB, at most `PSNR_CAP`, over the ``valid`` pixels."""
    if valid is None:
        return min(float(cv2.PSNR(prediction, truth)), PSNR_CAP)
    squared = np.square(prediction[valid].astype(np.float64) - truth[valid]).mean()
    return PSNR_CAP if squared == 0 else min(float(10 * np.log10(255**2 / squared)), PSNR_CAP)


def end_point_error(
    flow: NDArray[np.float32], truth: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
) -> float:
    """Mean length of the difference of two flows (H, W, 2) in pixels, over the ``valid`` (H, W) pixels."""
    error = np.hypot(flow[..., 0] - truth[..., 0], flow[..., 1] - truth[..., 1])
    return float(error.mean() if valid is None else error[valid].mean())


def static_pixels(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels (H, W) that stand still: there is texture around them, and but for noise the two frames have the same.

    A plain surface looks the same when it moves; it does not count. If of what has texture less than half stands still,
    the camera moves, some places seem to stand still by chance, and no pixel counts.
    """
    change = cv2.absdiff(first, second).astype(np.float32).reshape(*first.shape[:2], -1).mean(axis=2)
    image = second.astype(np.float32).reshape(*second.shape[:2], -1).mean(axis=2)
    textured = cv2.blur(image * image, (7, 7)) - cv2.blur(image, (7, 7)) ** 2 >= _TEXTURE**2
    static: NDArray[np.bool_] = (cv2.blur(change, (7, 7)) <= _STILL) & textured
    return static if static.sum() >= _STANDING * textured.sum() else np.zeros_like(static)
