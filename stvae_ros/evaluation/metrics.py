"""Figures of merit of predictions and of flow."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

PSNR_CAP = 60.0
"""dB given to an exact prediction, whose PSNR is infinite, so that means stay finite."""


def psnr(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of 8-bit images of one shape in dB, at most `PSNR_CAP`."""
    return min(float(cv2.PSNR(prediction, truth)), PSNR_CAP)


def end_point_error(
    flow: NDArray[np.float32], truth: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
) -> float:
    """Mean length of the difference of two flows (H, W, 2) in pixels, over the ``valid`` (H, W) pixels."""
    error = np.hypot(flow[..., 0] - truth[..., 0], flow[..., 1] - truth[..., 1])
    return float(error.mean() if valid is None else error[valid].mean())
