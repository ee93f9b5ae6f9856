"""Evaluation of motion masks beside OpenCV's methods for static cameras."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import cv2
import numpy as np

from stvae_ros.evaluation.core.classical_flow import grey
from stvae_ros.evaluation.core.loop import Sample, show
from stvae_ros.evaluation.core.methods import Camera
from stvae_ros.evaluation.core.metrics import Mask
from stvae_ros.evaluation.core.scores import Score
from stvae_ros.streaming import StreamingPredictor
from stvae_ros.streaming.flow import Image
from stvae_ros.streaming.motion_mask import MotionMask

_DIFFERENCE = 25
"""Grey levels by which a pixel changes that moves, by frame differencing; a usual choice."""

FindMoving = Callable[[Sample], Mask]
"""Takes the samples of a stream one by one, BGR; returns (H, W), True where something moves by itself."""


class NetworkMask(Camera):
    """A network and `MotionMask`, as in the node."""

    def __init__(self, predictor: StreamingPredictor) -> None:
        super().__init__(predictor)
        self._mask = MotionMask()

    def __call__(self, sample: Sample) -> Mask:
        """Take the next sample of a stream."""
        found = self._mask.advance(self.step(sample))
        return np.zeros(sample.image.shape[:2], np.bool_) if found is None else found > 0


class FrameDifference:
    """Pixels that changed since the last frame."""

    def __init__(self) -> None:
        self._last: Image | None = None

    def __call__(self, sample: Sample) -> Mask:
        """Take the next sample of a stream."""
        now = grey(sample.image)
        last, self._last = self._last, now
        return np.zeros(now.shape, np.bool_) if last is None else cv2.absdiff(now, last) > _DIFFERENCE


def background_mixture() -> FindMoving:
    """OpenCV's MOG2 (Zivkovic, ICPR 2004) with its defaults, without shadows."""
    subtractor = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
    return lambda sample: subtractor.apply(sample.image) > 0


def evaluate_masks(samples: Iterable[Sample], finders: Mapping[str, FindMoving]) -> dict[str, Score]:
    """Compare the masks of every method with the truth, `Sample.moving`.

    Returns:
        For each method the figures ``iou``, intersection over union in [0, 1] of frames where something moves, and
        ``ms``, milliseconds.
    """
    scores = {name: Score() for name in finders}
    for shown in show(samples, finders):
        truth = shown.sample.moving
        assert truth is not None
        for name, found in shown.results.items():
            if shown.counts:
                scores[name]["ms"].append(shown.milliseconds[name])
                if truth.any():
                    scores[name]["iou"].append(float((found & truth).sum() / (found | truth).sum()))
    return scores
