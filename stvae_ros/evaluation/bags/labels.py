"""Evaluation of label propagation on a bag: labels are given at intervals as on the robot, and compared between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np

from stvae_ros.evaluation.bags.frames import BagFrame
from stvae_ros.evaluation.core.classical_flow import dis_flow
from stvae_ros.evaluation.core.scores import Confusion
from stvae_ros.evaluation.labels import Carry, HoldLast, Warped
from stvae_ros.streaming import StepResult
from stvae_ros.streaming.carrying import CarryError
from stvae_ros.streaming.labels import LabelMap, LabelPropagator

_CLASSES = 255
"""Label ids from here on are ignored."""


class BagLabels:
    """Label propagation on one stream.

    A label map that is given is also the truth for the labels that were carried to its frame.

    Args:
        network: name of the network that propagates labels.
        interval: least time in seconds from given labels to given labels. The labels between are the truth.

    Attributes:
        propagator: the network's labels.
        refused: number of label maps that could not be used.
    """

    def __init__(self, network: str, interval: float) -> None:
        self.propagator = LabelPropagator(history=max(2.0, interval))
        self.refused = 0
        self._network, self._interval = network, interval
        self._confusions = {name: Confusion(_CLASSES) for name in (network, "copy last", "DIS medium")}
        self._given: int | None = None
        self._references: dict[str, Carry] = {}

    def show(self, frame: BagFrame, result: StepResult) -> dict[str, dict[str, float]]:
        """Take the next frame.

        Args:
            frame: the frame, perhaps with labels.
            result: the network's result for it.

        Returns:
            The figures of each method for this frame; nothing for a frame without labels.
        """
        if result.reset is not None:
            self._given = None
            self._references = {}
        self.propagator.advance(result)
        # References take every frame, since classical flow leads only from one frame to the next.
        unlabelled = replace(frame, labels=None)
        carried = {name: carry(unlabelled) for name, carry in self._references.items()}
        if frame.labels is None:
            return {}
        height, width = frame.image.shape[:2]
        truth: LabelMap = np.minimum(frame.labels, _CLASSES).astype(np.uint8)
        if truth.shape != (height, width):
            truth = np.asarray(cv2.resize(truth, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
        figures = {}
        if self._given is not None:
            found = self.propagator.labels()
            if found is not None:
                carried[self._network] = found
            figures = {name: self._compare(name, labels, truth) for name, labels in carried.items()}
        if self._given is None or frame.stamp - self._given >= self._interval * 1e9:
            self._give(frame, truth)
        return figures

    def _give(self, frame: BagFrame, truth: LabelMap) -> None:
        assert frame.labels is not None
        try:
            self.propagator.add(frame.labels, frame.stamp)
        except CarryError:
            self.refused += 1
            return
        self._given = frame.stamp
        self._references = {"copy last": HoldLast(), "DIS medium": Warped(dis_flow("medium"))}
        for carry in self._references.values():
            carry(replace(frame, labels=truth))

    def _compare(self, name: str, found: LabelMap, truth: LabelMap) -> dict[str, float]:
        confusion = Confusion(_CLASSES)
        confusion.add(found, truth)
        self._confusions[name].counts += confusion.counts
        return _figures(confusion)

    def summary(self) -> Mapping[str, dict[str, float]]:
        """Mean IoU and accuracy over all pixels of the stream, by method."""
        return {name: figures for name, confusion in self._confusions.items() if (figures := _figures(confusion))}


def _figures(confusion: Confusion) -> dict[str, float]:
    if not confusion.counts.any():
        return {}
    return {"label_miou": confusion.mean_iou, "label_accuracy": confusion.accuracy}
