"""Labels of a bag, given to the network now and then as on the robot, and compared with what became of them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.evaluation.bags.frames import BagFrame
from stvae_ros.evaluation.baselines import dis_flow
from stvae_ros.evaluation.labels import Carry, class_iou, hold, warped
from stvae_ros.streaming import StepResult
from stvae_ros.streaming.labels import UNLABELLED, LabelError, LabelMap, LabelPropagator

_CLASSES = 255


class BagLabels:
    """One stream. interval: at least so many seconds lie between labels that are given; those between are the truth.

    A label map that is given is the truth of what was carried to it, too. Ids from 255 on are ignored. ours: name of
    the network whose propagator this is.
    """

    def __init__(self, ours: str, interval: float) -> None:
        self.ours, self.interval = ours, interval
        self.propagator = LabelPropagator(history=max(2.0, interval))
        names = (ours, "copy last", "DIS medium")
        self.confusions = {name: np.zeros((_CLASSES, _CLASSES + 1), np.int64) for name in names}
        self.refused = 0
        self._given: int | None = None
        self._carriers: dict[str, Carry] = {}

    def show(self, frame: BagFrame, motion: StepResult) -> dict[str, dict[str, float]]:
        """Take a frame and, perhaps, its labels. Returns columns of its row, by method."""
        if motion.reset is not None:
            self._given = None
            self._carriers = {}
        self.propagator.advance(motion)
        # References are followed with every frame, since classical flow leads only from one to the next.
        carried = {name: carry(frame.image, None) for name, carry in self._carriers.items()}
        if frame.labels is None:
            return {}
        height, width = frame.image.shape[:2]
        truth = np.minimum(frame.labels, _CLASSES).astype(np.uint8)
        if truth.shape != (height, width):
            truth = np.asarray(cv2.resize(truth, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
        rows = {}
        if self._given is not None:
            found = self.propagator.labels()
            if found is not None:
                carried[self.ours] = found
            rows = {name: self._compare(name, labels, truth) for name, labels in carried.items()}
        if self._given is None or frame.stamp - self._given >= self.interval * 1e9:
            self._give(frame, truth)
        return rows

    def _give(self, frame: BagFrame, truth: NDArray[np.uint8]) -> None:
        assert frame.labels is not None
        try:
            self.propagator.add(frame.labels, frame.stamp)
        except LabelError:
            self.refused += 1
            return
        self._given = frame.stamp
        self._carriers = {"copy last": hold(), "DIS medium": warped(dis_flow("medium"))}
        for carry in self._carriers.values():
            carry(frame.image, truth)

    def _compare(self, name: str, labels: LabelMap, truth: NDArray[np.uint8]) -> dict[str, float]:
        unlabelled = UNLABELLED[labels.dtype]
        found = np.where(labels == unlabelled, _CLASSES, np.minimum(labels, _CLASSES))
        valid = truth < _CLASSES
        pairs = truth[valid].astype(np.int64) * (_CLASSES + 1) + found[valid]
        confusion = np.bincount(pairs, minlength=_CLASSES * (_CLASSES + 1)).reshape(_CLASSES, -1)
        self.confusions[name] += confusion
        return _figures(confusion)

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean IoU and accuracy over all frames of the stream, by method."""
        return {name: figures for name, confusion in self.confusions.items() if (figures := _figures(confusion))}


def _figures(confusion: NDArray[np.int64]) -> dict[str, float]:
    """Of pixels by true and by found class; the last found class is none."""
    if not confusion.any():
        return {}
    right = float(np.diag(confusion).sum() / confusion.sum())
    return {"label_miou": float(np.nanmean(class_iou(confusion))), "label_accuracy": right}
