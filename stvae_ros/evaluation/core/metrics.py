"""Metrics of images and of flow."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.evaluation.core.classical_flow import dis_flow, grey
from stvae_ros.streaming.flow import Flow, Image

PSNR_CAP = 60.0
"""PSNR in dB of an exact prediction. Its true PSNR is infinite; the cap keeps means finite."""
MOVING = 0.5
"""A pixel moves if its flow has this length or more, in pixels per frame."""
SMALLEST = 16
"""Smallest width and height in pixels for which DIS measures flow."""
_STATIC_CHANGE = 2.0
"""Largest mean change of a static pixel between two frames, in grey levels over 7x7 pixels."""
_TEXTURE = 8.0
"""Smallest standard deviation of a textured place, in grey levels over 7x7 pixels."""
_STATIC_CAMERA = 0.5
"""Smallest share of static pixels among textured pixels while the camera stands still."""

Mask = NDArray[np.bool_]


def psnr(prediction: Image, truth: Image, valid: Mask | None = None) -> float:
    """Peak signal-to-noise ratio of 8-bit images of one shape.

    Args:
        prediction: (H, W) or (H, W, C).
        truth: the same shape.
        valid: the pixels (H, W) to compare; None is all.

    Returns:
        PSNR in dB, at most `PSNR_CAP`.
    """
    if valid is None:
        return min(float(cv2.PSNR(prediction, truth)), PSNR_CAP)
    squared = np.square(prediction[valid].astype(np.float64) - truth[valid]).mean()
    return PSNR_CAP if squared == 0 else min(float(10 * np.log10(255**2 / squared)), PSNR_CAP)


def end_point_error(flow: Flow, truth: Flow, valid: Mask | None = None) -> float:
    """Mean end-point error of a flow.

    Args:
        flow: (H, W, 2) in pixels.
        truth: the same shape.
        valid: the pixels (H, W) to compare; None is all.

    Returns:
        The mean length of the difference, in pixels.
    """
    error = np.hypot(flow[..., 0] - truth[..., 0], flow[..., 1] - truth[..., 1])
    return float(error.mean() if valid is None else error[valid].mean())


def moving_pixels(image: Image, last: Image) -> Mask:
    """Pixels (H, W) that move by `MOVING` or more from the last frame to this one, by DIS medium.

    No pixel moves in a frame smaller than `SMALLEST`.
    """
    if min(image.shape[:2]) < SMALLEST:
        return np.zeros(image.shape[:2], np.bool_)
    flow = dis_flow("medium")(grey(image), grey(last))
    return np.asarray(np.hypot(flow[..., 0], flow[..., 1]) >= MOVING)


def static_pixels(first: Image, second: Image) -> Mask:
    """Pixels (H, W) that stand still: textured pixels that change between two frames by noise only.

    A plain surface does not count, since it looks the same when it moves. If less than half of the textured pixels
    are static, the camera moves, and no pixel counts.
    """
    change = cv2.absdiff(first, second).astype(np.float32).reshape(*first.shape[:2], -1).mean(axis=2)
    image = second.astype(np.float32).reshape(*second.shape[:2], -1).mean(axis=2)
    textured = cv2.blur(image * image, (7, 7)) - cv2.blur(image, (7, 7)) ** 2 >= _TEXTURE**2
    static: Mask = (cv2.blur(change, (7, 7)) <= _STATIC_CHANGE) & textured
    return static if static.sum() >= _STATIC_CAMERA * textured.sum() else np.zeros_like(static)
