"""Motion mask: pixels that move by themselves, seen by a moving camera.

The image of a static scene moves approximately by one homography, which is fitted to the flow by RANSAC. A pixel moves
by itself if its flow differs from the homography, and if its flow explains the frame better than the homography does.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.streaming.flow import Flow, Image, move, pixel_grid
from stvae_ros.streaming.step_result import FramePrediction, StepResult

_STEP = 8
"""Grid spacing, in pixels, of the vectors that the homography is fitted to."""
_INLIER = 0.5
"""Largest distance, in pixels, of an inlier from the homography."""
_DEVIATION = (0.5, 0.1)
"""Least deviation of a moving pixel: in pixels, plus this share of the camera's motion."""
_EXPLAINED = 4.0
"""Least gain of the flow over the camera's motion, in grey levels, as a mean over 5x5 pixels."""
_KEPT = 0.5
"""Weight of the last frame's score."""

Mask = NDArray[np.uint8]


class MotionMask:
    """The motion mask of one camera. If `advance` was not called for the last frame, it starts anew."""

    def __init__(self) -> None:
        self._last: FramePrediction | None = None
        self._score: NDArray[np.float32] | None = None

    def advance(self, motion: StepResult) -> Mask | None:
        """Take the next frame.

        Returns:
            255 for pixels that move by themselves, else 0, (H, W). None for the first frame after a reset, and for a
            network without flow.
        """
        fresh, self._last = self._last, motion.views[0]
        flow = _flow(motion)
        if motion.previous is None or flow is None:
            self._score = None
            return None
        score = moving(_grey(motion.previous.small), _grey(motion.views[0].small), flow)
        if self._score is not None and motion.previous is fresh:
            score = _KEPT * move(self._score, flow) + (1 - _KEPT) * score
        self._score = score
        height, width = motion.image.shape[:2]
        scaled = cv2.resize(score, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.where(scaled > 0.5, 255, 0).astype(np.uint8)


def moving(last: Image, now: Image, flow: Flow) -> NDArray[np.float32]:
    """Score how surely each pixel moves by itself.

    Args:
        last, now: grey frames, (h, w) uint8.
        flow: ``now(p) = last(p + flow(p))``, (h, w, 2) in pixels.

    Returns:
        (h, w) in [0, 1].
    """
    camera = camera_motion(flow)
    deviation = np.hypot(*np.moveaxis(flow - camera, 2, 0))
    least, share = _DEVIATION
    differs = deviation / (least + share * np.hypot(*np.moveaxis(camera, 2, 0))) - 0.5
    before, after = last.astype(np.float32), now.astype(np.float32)
    surprise = np.abs(after - move(before, camera)) - np.abs(after - move(before, flow))
    explained = cv2.blur(surprise, (5, 5)) / _EXPLAINED
    return np.clip(np.minimum(differs, explained), 0, 1).astype(np.float32)


def camera_motion(flow: Flow) -> Flow:
    """Fit a homography to the flow by RANSAC. Returns its flow, (h, w, 2); zeros if none is found."""
    height, width = flow.shape[:2]
    grid = pixel_grid(height, width)
    some = np.s_[_STEP // 2 :: _STEP, _STEP // 2 :: _STEP]
    source, target = grid[some].reshape(-1, 2), (grid + flow)[some].reshape(-1, 2)
    homography = None
    if len(source) >= 4:
        homography, _ = cv2.findHomography(source, target, cv2.RANSAC, _INLIER, maxIters=300)
    if homography is None:
        return np.zeros_like(flow)
    moved = cv2.perspectiveTransform(grid.reshape(1, -1, 2), homography)
    return (moved.reshape(height, width, 2) - grid).astype(np.float32)


def _flow(motion: StepResult) -> Flow | None:
    """Flow to the last frame at processing size: the observed one, or else the predicted one."""
    if motion.small_observed is not None:
        return motion.small_observed
    return None if motion.previous is None else motion.previous.predicted_flow


def _grey(small: Image) -> Image:
    """Convert (h, w, C), grey or RGB, to (h, w)."""
    if small.shape[2] == 1:
        return small[..., 0]
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
