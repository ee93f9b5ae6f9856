"""Evaluation of carried boxes: a detector gives the boxes of some frames, and gives them late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stvae_ros.evaluation.core.classical_flow import FlowFunction, grey
from stvae_ros.evaluation.core.loop import PERIOD, Sample, show
from stvae_ros.evaluation.core.methods import Camera
from stvae_ros.evaluation.core.scores import Score
from stvae_ros.streaming import StreamingPredictor
from stvae_ros.streaming.boxes import Boxes, BoxPropagator, BoxSet, believed
from stvae_ros.streaming.flow import Flow, Image, pixel_grid

Box = NDArray[np.float64]
"""Left, top, right and bottom edge in pixels of the image, (4,)."""
Objects = Mapping[int, Box]
"""The boxes of a frame by number of the object."""
MoveBoxes = Callable[[Boxes, Flow, int, int], Boxes]
"""Moves boxes by the backward flow of the next frame, (H, W, 2). Also takes width and height of the image."""
_LONGEST = 60
"""Largest delay in frames."""


class Detected(NamedTuple):
    """A frame with the true boxes of its objects."""

    image: Image
    objects: Objects


@dataclass(frozen=True, eq=False)
class BoxSample(Sample):
    """A frame of a stream, and the boxes that come with it.

    Args:
        given: the boxes; None if none come with this frame.
        given_stamp: of the frame that they describe, in nanoseconds.
    """

    given: Objects | None = None
    given_stamp: int = 0


CarryBoxes = Callable[[BoxSample], Objects]
"""Takes the samples of a stream one by one. Returns the boxes in each, without those that are lost."""


class HoldBoxes:
    """The last given boxes, not moved."""

    def __init__(self) -> None:
        self._last: Objects = {}

    def __call__(self, sample: BoxSample) -> Objects:
        """Take the next sample of a stream."""
        self._last = self._last if sample.given is None else sample.given
        return self._last


class ConstantVelocity:
    """Each edge moves on as it did between the last two given boxes of the object. The numbers of objects are true."""

    def __init__(self) -> None:
        self._given: deque[tuple[int, Objects]] = deque(maxlen=2)

    def __call__(self, sample: BoxSample) -> Objects:
        """Take the next sample of a stream."""
        if sample.given is not None:
            self._given.append((sample.given_stamp, sample.given))
        if not self._given:
            return {}
        (first, before), (last, objects) = self._given[0], self._given[-1]
        if first == last:
            return objects
        part = (sample.stamp - last) / (last - first)
        return {
            number: box + part * (box - before[number]) if number in before else box for number, box in objects.items()
        }


class FlowBoxes:
    """The last given boxes, moved by classical flow from frame to frame, from the frame that they describe on.

    Args:
        flow: the classical flow.
        move: moves the boxes by it.
        doubts: whether flow that is not `believed` is 0.
    """

    def __init__(self, flow: FlowFunction, move: MoveBoxes, doubts: bool = False) -> None:
        self._flow, self._move, self._doubts = flow, move, doubts
        self._before: Image | None = None
        self._flows: deque[tuple[int, Flow]] = deque(maxlen=_LONGEST)
        self._objects: Objects = {}

    def __call__(self, sample: BoxSample) -> Objects:
        """Take the next sample of a stream."""
        now = grey(sample.image)
        if self._before is not None:
            flow = self._flow(now, self._before)
            if self._doubts:
                flow = believed(flow, *(np.multiply(image, 1 / 255, dtype=np.float32) for image in (now, self._before)))
            self._flows.append((sample.stamp, flow))
        self._before = now
        steps = list(self._flows)[-1:]
        if sample.given is not None:
            self._objects, steps = sample.given, [step for step in self._flows if step[0] > sample.given_stamp]
        height, width = now.shape
        for _, flow in steps:
            boxes = self._move(np.array(list(self._objects.values())).reshape(-1, 4), flow, width, height)
            self._objects = dict(zip(self._objects, boxes, strict=True))
        return self._objects


def median_shift(boxes: Boxes, flow: Flow, width: int, height: int) -> Boxes:
    """Shift each box by the median motion of its pixels, the usual way."""
    moved = boxes.copy()
    for box in moved:
        left, top = np.clip(box[:2].astype(int), 0, (width - 1, height - 1))
        right, bottom = np.clip(np.ceil(box[2:]).astype(int), (left + 1, top + 1), (width, height))
        box -= np.tile(np.median(flow[top:bottom, left:right].reshape(-1, 2), axis=0), 2)
    return moved


class CarriedBoxes(Camera):
    """The last given boxes, carried by a network's flow as in the node."""

    def __init__(self, predictor: StreamingPredictor) -> None:
        super().__init__(predictor)
        self._propagator = BoxPropagator(history=_LONGEST * PERIOD / 1e9)

    def __call__(self, sample: BoxSample) -> Objects:
        """Take the next sample of a stream."""
        self._propagator.advance(self.step(sample))
        if sample.given is not None:
            boxes = np.array(list(sample.given.values())).reshape(-1, 4)
            self._propagator.add(BoxSet(boxes, list(sample.given)), sample.given_stamp)
        found = self._propagator.boxes()
        if found is None:
            return {}
        return {number: box for number, box in zip(found.attached, found.boxes, strict=True) if np.isfinite(box).all()}


def boxes_of(masks: NDArray[np.uint8]) -> Objects:
    """The boxes of the objects of a mask (H, W). Each value but 0 is the number of an object."""
    height, width = masks.shape
    grid = pixel_grid(height, width)
    objects = {}
    for number in np.unique(masks[masks > 0]):
        places = grid[masks == number]
        edges = np.concatenate([places.min(axis=0), places.max(axis=0) + 1])
        objects[int(number)] = edges.astype(np.float64)
    return objects


def overlap(box: Box, truth: Box, width: int, height: int) -> float:
    """Intersection over union of two boxes, each clipped to the image."""
    one, other = (np.clip(each, 0, (width, height, width, height)) for each in (box, truth))
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    return common / float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - common)


def evaluate_boxes(
    frames: Sequence[Detected], carriers: Mapping[str, CarryBoxes], interval: int, late: int
) -> dict[str, Score]:
    """Give every ``interval``-th frame's boxes to every method, ``late`` frames later.

    Args:
        frames: the stream with all true boxes.
        carriers: the methods by name.
        interval: frames from given boxes to given boxes, at least 1.
        late: frames from a frame to the arrival of its boxes, 0 to 60.

    Returns:
        For each method the figures ``iou``, intersection over union in [0, 1] of each object that the last given boxes
        have too, 0 for a lost box, and ``ms``, milliseconds. Frames whose own boxes are given do not count, and frames
        before the first boxes.
    """
    scores = {name: Score() for name in carriers}

    def samples() -> list[BoxSample]:
        made = []
        for index, (image, _) in enumerate(frames):
            described = index - late
            comes = described >= 0 and described % interval == 0
            given = frames[described].objects if comes else None
            # Stamps start at 1: stamp 0 means that there is none.
            made.append(BoxSample(image, (index + 1) * PERIOD, given=given, given_stamp=(described + 1) * PERIOD))
        return made

    known: Objects = {}
    for shown in show(samples(), carriers, warm_up=0):
        sample, truth = shown.sample, frames[shown.index].objects
        known = known if sample.given is None else sample.given
        if sample.given is not None and late == 0:
            continue
        height, width = sample.image.shape[:2]
        for name, found in shown.results.items():
            scores[name]["ms"].append(shown.milliseconds[name])
            for number in known.keys() & truth.keys():
                iou = overlap(found[number], truth[number], width, height) if number in found else 0.0
                scores[name]["iou"].append(iou)
    return scores
