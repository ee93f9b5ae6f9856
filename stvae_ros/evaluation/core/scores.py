"""Scores: values of one method over the frames of a stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stvae_ros.streaming.labels import LabelMap


def mean(values: Sequence[float]) -> float:
    """Mean, NaN of nothing."""
    return float(np.mean(values)) if values else float("nan")


class Score(defaultdict[str, list[float]]):
    """The values of each figure, one per frame that has it; a figure without values is an empty list."""

    def __init__(self) -> None:
        super().__init__(list)

    def mean(self, figure: str) -> float:
        """Mean over frames, NaN without values."""
        return mean(self[figure])

    def median(self, figure: str) -> float:
        """Median over frames, NaN without values."""
        return float(np.median(self[figure])) if self[figure] else float("nan")


class Confusion:
    """Counts of pixels by true class and found class.

    This is torchmetrics' confusion matrix (a test compares). Counting with NumPy takes a hundredth of its time.

    Args:
        classes: number of classes. True labels from this number on are ignored. Found labels from it on are no label.

    Attributes:
        counts: (classes, classes + 1); the last column counts pixels for which no label was found.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts = np.zeros((classes, classes + 1), np.int64)

    def add(self, found: LabelMap, truth: LabelMap) -> None:
        """Add the pixels of a frame; both arrays are (H, W)."""
        known = truth < self.classes
        columns = np.minimum(found[known].astype(np.int64), self.classes)
        pairs = truth[known].astype(np.int64) * (self.classes + 1) + columns
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of every class, NaN for a class without true pixels."""
        right, true = np.diag(self.counts), self.counts.sum(axis=1)
        union = true + self.counts[:, : self.classes].sum(axis=0) - right
        return np.where(true > 0, right / np.maximum(union, 1), np.nan)

    @property
    def mean_iou(self) -> float:
        """Mean over the classes with true pixels."""
        return float(np.nanmean(self.iou))

    @property
    def accuracy(self) -> float:
        """Share of the pixels that have their true label. A pixel without a label counts as wrong."""
        return float(np.diag(self.counts).sum() / self.counts.sum())

    @property
    def unlabelled(self) -> float:
        """Share of the pixels without a label."""
        return float(self.counts[:, self.classes].sum() / self.counts.sum())
