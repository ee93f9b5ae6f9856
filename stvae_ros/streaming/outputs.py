"""The outputs of one camera: which there are, how each is made, and when it is for; arrays, without messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.streaming.camera_events import CameraEvents, Counts
from stvae_ros.streaming.labels import LabelMap, LabelPropagator
from stvae_ros.streaming.motion_mask import MotionMask
from stvae_ros.streaming.step_result import StepResult
from stvae_ros.visualization.event_colors import events_to_color, events_to_grey
from stvae_ros.visualization.flow_color import flow_to_color
from stvae_ros.visualization.label_colors import ClassTable


@dataclass(eq=False)
class FrameContext:
    """What outputs are made of: one frame of one camera.

    color_max: parameter flow_color_max, in pixels per frame, 0 for the default. camera_events, motion_mask: of this
    camera, the same for each of its frames.
    """

    motion: StepResult
    propagator: LabelPropagator
    classes: ClassTable
    color_max: float
    camera_events: CameraEvents = field(default_factory=CameraEvents)
    motion_mask: MotionMask = field(default_factory=MotionMask)

    @cached_property
    def labels(self) -> LabelMap | None:
        """Of this frame, or with a horizon beyond the next frame, of the predicted one; None before there are any."""
        return self.propagator.labels(ahead=len(self.motion.views) > 1)

    @property
    def label_stamp(self) -> int:
        """When `labels` are for, in nanoseconds."""
        return self.motion.next_stamp if len(self.motion.views) > 1 else self.motion.stamp

    @cached_property
    def events(self) -> Counts | None:
        """See `CameraEvents.advance`."""
        return self.camera_events.advance(self.motion)

    @cached_property
    def predicted_events(self) -> Counts | None:
        """See `CameraEvents.predicted`."""
        return None if self.events is None else self.camera_events.predicted(self.motion)

    @cached_property
    def surprise_events(self) -> Counts | None:
        """See `CameraEvents.surprise`."""
        return self.camera_events.surprise(self.motion)


@dataclass(frozen=True)
class Output:
    """An output topic. ``make`` returns None where this frame has nothing to publish; ``stamp`` says when it is for."""

    name: str
    make: Callable[[FrameContext], tuple[NDArray[np.generic], str] | None]
    stamp: Callable[[FrameContext], int] = lambda moment: moment.motion.stamp


def _predicted(moment: FrameContext) -> int:
    return moment.motion.next_stamp


def _image(array: NDArray[np.generic]) -> tuple[NDArray[np.generic], str]:
    return array, "mono8" if array.ndim == 2 else "bgr8"


def _flow_color(moment: FrameContext) -> tuple[NDArray[np.generic], str]:
    height, width = moment.motion.image.shape[:2]
    # Colours are looked up at processing size, a fraction of the pixels, and then scaled like the flow itself.
    colors = flow_to_color(moment.motion.small_flow, moment.color_max or width / 40)
    return cv2.resize(colors, (width, height), interpolation=cv2.INTER_LINEAR), "bgr8"


def _surprise(moment: FrameContext) -> tuple[NDArray[np.generic], str] | None:
    surprise = moment.motion.surprise
    return None if surprise is None else (surprise, "32FC1")


def _labels(moment: FrameContext) -> tuple[NDArray[np.generic], str] | None:
    labels = moment.labels
    return None if labels is None else (labels, "mono8" if labels.dtype == np.uint8 else "mono16")


def _labels_color(moment: FrameContext) -> tuple[NDArray[np.generic], str] | None:
    labels = moment.labels
    return None if labels is None else (moment.classes.draw(labels), "bgr8")


def _events(name: str) -> Callable[[FrameContext], tuple[NDArray[np.generic], str] | None]:
    def make(moment: FrameContext) -> tuple[NDArray[np.generic], str] | None:
        counts: Counts | None = getattr(moment, name)
        return None if counts is None else (events_to_grey(counts), "mono8")

    return make


def _events_color(name: str) -> Callable[[FrameContext], tuple[NDArray[np.generic], str] | None]:
    def make(moment: FrameContext) -> tuple[NDArray[np.generic], str] | None:
        counts: Counts | None = getattr(moment, name)
        return None if counts is None else (events_to_color(counts), "bgr8")

    return make


def _motion_mask(moment: FrameContext) -> tuple[NDArray[np.generic], str] | None:
    mask = moment.motion_mask.advance(moment.motion)
    return None if mask is None else (mask, "mono8")


OUTPUTS = (
    Output("flow", lambda moment: (moment.motion.flow, "32FC2")),
    Output("prediction", lambda moment: _image(moment.motion.prediction), _predicted),
    Output("flow_color", _flow_color),
    Output("surprise", _surprise),
    Output("decoded", lambda moment: _image(moment.motion.decoded), _predicted),
    Output("labels", _labels, lambda moment: moment.label_stamp),
    Output("labels_color", _labels_color, lambda moment: moment.label_stamp),
    Output("events", _events("events")),
    Output("events_color", _events_color("events")),
    Output("predicted_events", _events("predicted_events"), _predicted),
    Output("predicted_events_color", _events_color("predicted_events"), _predicted),
    Output("surprise_events", _events("surprise_events")),
    Output("surprise_events_color", _events_color("surprise_events")),
    Output("motion_mask", _motion_mask),
)


class Made(NamedTuple):
    """An output of a frame. array: (H, W) or (H, W, C), as ``encoding`` says. stamp: when it is for, in nanoseconds."""

    name: str
    array: NDArray[np.generic]
    encoding: str
    stamp: int


def make(moment: FrameContext, wanted: Iterable[Output]) -> Iterator[Made]:
    """Each wanted output that this frame has."""
    for output in wanted:
        made = output.make(moment)
        if made is not None:
            yield Made(output.name, *made, output.stamp(moment))
