"""Measuring how labels given on some frames are carried to the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.classification import MulticlassConfusionMatrix

from stvae_ros.data.labelled import Labelled
from stvae_ros.evaluation.baselines import FlowFunction, dis_flow, grey
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.flow import Flow, Image, look_up, move, pixel_grid
from stvae_ros.streaming.labels import LabelMap, LabelPropagator
from stvae_ros.streaming.segmentation import StreamingSegmenter

_NOTHING = 255


Carry = Callable[[Image, NDArray[np.uint8] | None], LabelMap]
"""Takes the frames of a stream one by one, with labels on some, the first among them; returns the labels of each."""


class LabelScore:
    """Figures of one way to carry labels, over the frames without given labels.

    consistency: share of pixels whose label is that which they had in the frame before, moved along by DIS flow, one
    value a frame. milliseconds a frame. A pixel without a label counts as wrong.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.consistency: list[float] = []
        self.milliseconds: list[float] = []
        self._confusion = MulticlassConfusionMatrix(classes + 1, ignore_index=-1, validate_args=False)

    def update(self, found: LabelMap, truth: NDArray[np.uint8]) -> None:
        """Compare one frame; true labels of ``classes`` and more are ignored, found ones are none."""
        target = np.where(truth < self.classes, truth.astype(np.int64), -1)
        self._confusion.update(
            torch.from_numpy(np.minimum(found, self.classes).astype(np.int64)), torch.from_numpy(target)
        )

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Pixels by true and by found class, (classes, classes + 1); the last found class is none."""
        return self._confusion.compute().numpy()[: self.classes]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of every class, NaN for one that never was there."""
        return class_iou(self.confusion)

    @property
    def mean_iou(self) -> float:
        """Over the classes that were there."""
        return float(np.nanmean(self.iou))

    @property
    def accuracy(self) -> float:
        """Share of pixels that have their true label."""
        return float(np.diag(self.confusion).sum() / self.confusion.sum())

    @property
    def unlabelled(self) -> float:
        """Share of pixels without a label."""
        return float(self.confusion[:, self.classes].sum() / self.confusion.sum())


def class_iou(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of `LabelScore.confusion`: intersection over union of every class, NaN for one that never was there."""
    right, there = np.diag(confusion), confusion.sum(axis=1)
    union = there + confusion[:, : len(confusion)].sum(axis=0) - right
    return np.where(there > 0, right / np.maximum(union, 1), np.nan)


def hold() -> Carry:
    """The last labels, where they were."""
    last: LabelMap | None = None

    def carry(image: Image, labels: NDArray[np.uint8] | None) -> LabelMap:
        nonlocal last
        last = labels if labels is not None else last
        assert last is not None
        return last

    return carry


def warped(flow: FlowFunction) -> Carry:
    """The last labels, moved by classical flow from frame to frame."""
    before: Image | None = None
    key: LabelMap | None = None
    positions: Flow | None = None

    def carry(image: Image, labels: NDArray[np.uint8] | None) -> LabelMap:
        nonlocal before, key, positions
        now = grey(image)
        if labels is not None:
            key, positions = labels, pixel_grid(*now.shape)
        elif before is not None and positions is not None:
            # Positions are moved, as ours are: moving labels again and again would cost this reference half a point.
            positions = move(positions, flow(now, before))
        before = now
        assert key is not None and positions is not None
        return look_up(key, positions, _NOTHING)

    return carry


def ours(predictor: StreamingPredictor, fill: bool, period_ns: int = 66_666_667) -> Carry:
    """A streaming predictor and a propagator on one camera whose frames come at a fixed period."""
    predictor.warm_up()
    propagator, count = LabelPropagator(fill=fill), 0

    def carry(image: Image, labels: NDArray[np.uint8] | None) -> LabelMap:
        nonlocal count
        motion = predictor.step({"camera": Frame(image, count * period_ns)})["camera"]
        assert motion is not None
        count += 1
        propagator.advance(motion)
        if labels is not None:
            propagator.add(labels, motion.stamp)
        found = propagator.labels()
        assert found is not None
        return found

    return carry


def segmented(segmenter: StreamingSegmenter) -> Carry:
    """What a segmenter finds itself, whatever labels are given."""
    count = 0

    def carry(image: Image, labels: NDArray[np.uint8] | None) -> LabelMap:
        nonlocal count
        count += 1
        found = segmenter.label(Frame(image, count))
        return cv2.resize(found, image.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)

    return carry


def evaluate_labels(
    frames: Iterable[Labelled], carriers: dict[str, Carry], interval: int, classes: int
) -> dict[str, LabelScore]:
    """Give the labels of every ``interval``-th frame to every carrier, and compare what it says of the others.

    Frames whose labels are given do not count unless ``interval`` is 1. True labels of ``classes`` and more are
    ignored.
    """
    scores = {name: LabelScore(classes) for name in carriers}
    last: dict[str, LabelMap] = {}
    flow, before = dis_flow("medium"), None
    for index, (image, truth, _) in enumerate(frames):
        given = truth if index % interval == 0 else None
        moved = None if before is None else pixel_grid(*truth.shape) + flow(grey(image), before)
        for name, carry in carriers.items():
            score = scores[name]
            start = time.perf_counter()
            found = carry(image, given)
            elapsed = time.perf_counter() - start
            if given is None or interval == 1:
                score.update(found, truth)
                score.milliseconds.append(elapsed * 1e3)
            if name in last and moved is not None:
                score.consistency.append(float((look_up(last[name], moved, _NOTHING) == found).mean()))
            last[name] = found
        before = grey(image)
    return scores
