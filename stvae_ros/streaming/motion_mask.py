"""What moves by itself, seen by a camera that moves too.

A static scene in front of a moving camera moves, nearly, by one homography: the one that most of the flow agrees with.
A place moves by itself if its flow differs from that, and if the surprise that the camera's motion leaves, frame
against last frame moved by the homography, is what its own flow explains.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.streaming.flow import Flow, Image, move, pixel_grid
from stvae_ros.streaming.step_result import FramePrediction, StepResult

_STEP = 8
"""Pixels from one vector to the next of those that the homography is fitted to."""
_INLIER = 0.5
"""Pixels by which a vector may differ from the homography and count for it."""
_DEVIATION = (0.5, 0.1)
"""Pixels by which what moves differs, and more where the camera's motion is long, by this share of it."""
_EXPLAINED = 4.0
"""Grey levels, as a mean over 5x5 pixels, by which the flow must explain a place better than the camera's motion."""
_KEPT = 0.5
"""Share of what was thought of a place in the last frame."""

Mask = NDArray[np.uint8]


class MotionMask:
    """The moving objects of one camera, from the motion of its frames one after the other."""

    def __init__(self) -> None:
        self._last: FramePrediction | None = None
        self._score: NDArray[np.float32] | None = None

    def advance(self, motion: StepResult) -> Mask | None:
        """Take the next frame: 255 where something moves by itself, else 0, (H, W).

        None for the first frame after a reset, and from a network without flow. A frame for which it was not asked
        costs it the memory of the frames before.
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
    """How sure it is that a place moves by itself, (h, w) in [0, 1].

    last, now: grey frames (h, w) uint8. flow: ``now(p) = last(p + flow(p))``, (h, w, 2) in pixels.
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
    """The motion of most of the image in the form of ``flow``: a homography fitted by RANSAC, or none."""
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
    """To the last frame at processing size: as observed, or else as it was predicted."""
    if motion.small_observed is not None:
        return motion.small_observed
    return None if motion.previous is None else motion.previous.predicted_flow


def _grey(small: Image) -> Image:
    """(h, w, C), grey or RGB, as (h, w)."""
    if small.shape[2] == 1:
        return small[..., 0]
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
