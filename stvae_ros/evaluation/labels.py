"""Evaluation of label propagation: the labels of some frames are carried to the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from stvae_ros.data.labelled import Labelled
from stvae_ros.evaluation.core.classical_flow import FlowFunction, dis_flow, grey
from stvae_ros.evaluation.core.loop import Sample, show
from stvae_ros.evaluation.core.methods import Camera
from stvae_ros.evaluation.core.scores import Confusion, Score
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.flow import Flow, Image, look_up, move, pixel_grid
from stvae_ros.streaming.labels import LabelMap, LabelPropagator
from stvae_ros.streaming.segmentation import StreamingSegmenter

_UNLABELLED = 255
_PERIOD = 66_666_667
"""Nanoseconds from frame to frame: CamVid has 15 frames per second."""

Carry = Callable[[Sample], LabelMap]
"""Takes the samples of a stream one by one, the first with labels; returns the labels (H, W) of each."""


class LabelScore(Score):
    """Score of one method over the frames whose labels were not given.

    Figures: ``consistency``, the share of pixels whose label is that of the frame before, moved by DIS flow; ``ms``,
    milliseconds.

    Attributes:
        confusion: counts of all pixels.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.confusion = Confusion(classes)


class HoldLast:
    """The last given labels, not moved."""

    def __init__(self) -> None:
        self._last: LabelMap | None = None

    def __call__(self, sample: Sample) -> LabelMap:
        """Take the next sample of a stream."""
        self._last = sample.labels if sample.labels is not None else self._last
        assert self._last is not None
        return self._last


class Warped:
    """The last given labels, moved by classical flow from frame to frame.

    Positions are moved, not labels: labels that are moved again and again would lose half a point of IoU.
    """

    def __init__(self, flow: FlowFunction) -> None:
        self._flow = flow
        self._before: Image | None = None
        self._labels: LabelMap | None = None
        self._positions: Flow | None = None

    def __call__(self, sample: Sample) -> LabelMap:
        """Take the next sample of a stream."""
        now = grey(sample.image)
        if sample.labels is not None:
            self._labels, self._positions = sample.labels, pixel_grid(*now.shape)
        elif self._before is not None and self._positions is not None:
            self._positions = move(self._positions, self._flow(now, self._before))
        self._before = now
        assert self._labels is not None and self._positions is not None
        return look_up(self._labels, self._positions, _UNLABELLED)


class Propagated(Camera):
    """The last given labels, moved by a network's flow as in the node.

    Args:
        predictor: the network.
        fill: whether doubtful pixels keep a label.
    """

    def __init__(self, predictor: StreamingPredictor, fill: bool) -> None:
        super().__init__(predictor)
        self._propagator = LabelPropagator(fill=fill)

    def __call__(self, sample: Sample) -> LabelMap:
        """Take the next sample of a stream."""
        result = self.step(sample)
        self._propagator.advance(result)
        if sample.labels is not None:
            self._propagator.add(sample.labels, result.stamp)
        found = self._propagator.labels()
        assert found is not None
        return found


def segmented(segmenter: StreamingSegmenter) -> Carry:
    """The labels that a segmenter finds on each frame; given labels are ignored."""

    def find(sample: Sample) -> LabelMap:
        found = segmenter.label(Frame(sample.image, sample.stamp))
        size = sample.image.shape[1::-1]
        return cv2.resize(found, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)

    return find


def evaluate_labels(
    frames: Sequence[Labelled], carriers: Mapping[str, Carry], interval: int, classes: int
) -> dict[str, LabelScore]:
    """Give every ``interval``-th frame's labels to every method, and compare the labels of the other frames.

    Args:
        frames: the stream with all true labels.
        carriers: the methods by name.
        interval: frames from given labels to given labels; at 1 all frames count, else those without given labels.
        classes: true labels from this number on are ignored.
    """
    scores = {name: LabelScore(classes) for name in carriers}
    samples = (
        Sample(image, index * _PERIOD, labels=truth if index % interval == 0 else None)
        for index, (image, truth, _) in enumerate(frames)
    )
    last: Mapping[str, LabelMap] = {}
    flow, before = dis_flow("medium"), None
    for shown, (image, truth, _) in zip(show(samples, carriers, warm_up=0), frames, strict=True):
        moved = None if before is None else pixel_grid(*truth.shape) + flow(grey(image), before)
        for name, found in shown.results.items():
            if shown.sample.labels is None or interval == 1:
                scores[name].confusion.add(found, truth)
                scores[name]["ms"].append(shown.milliseconds[name])
            if moved is not None:
                kept = look_up(last[name], moved, _UNLABELLED) == found
                scores[name]["consistency"].append(float(kept.mean()))
        last, before = shown.results, grey(image)
    return scores
