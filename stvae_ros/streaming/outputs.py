"""The outputs of one camera as arrays: how each is made, and the time that it is for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.streaming.camera_events import CameraEvents, Counts
from stvae_ros.streaming.labels import LabelMap, LabelPropagator
from stvae_ros.streaming.motion_mask import Mask, MotionMask
from stvae_ros.streaming.step_result import StepResult
from stvae_ros.visualization.event_colors import events_to_color, events_to_grey
from stvae_ros.visualization.flow_color import flow_to_color
from stvae_ros.visualization.label_colors import ClassTable
from stvae_ros.visualization.panels import as_bgr

SURPRISE_BRIGHTNESS = 4.0
"""The surprise is drawn so many times as bright; most of it is far below 1."""


@dataclass(frozen=True, eq=False)
class FrameContext:
    """One frame of one camera, from which all its outputs are made. Making an output changes nothing.

    Attributes:
        motion: result of the step.
        propagator: the labels, already advanced to this frame.
        classes: names and colours of the labels.
        color_max: parameter flow_color_max, in pixels per frame; 0 for the default.
        camera_events: the event simulation of the camera, already advanced to this frame.
        events: signed counts of events (H, W) from the last frame to this one; None for the first after a reset.
        mask: the motion mask (H, W) of this frame; None for the first after a reset.
        flow_per_second: whether `flow` is in pixels per second.
    """

    motion: StepResult
    propagator: LabelPropagator
    classes: ClassTable
    color_max: float
    camera_events: CameraEvents
    events: Counts | None
    mask: Mask | None
    flow_per_second: bool = False

    @property
    def flow(self) -> NDArray[np.float32]:
        """Forward flow (H, W, 2) to the predicted frame in pixels, or in pixels per second over the time to it."""
        flow = self.motion.flow
        if not self.flow_per_second:
            return flow
        seconds = (self.motion.next_stamp - self.motion.stamp) / 1e9
        return np.multiply(flow, 1 / seconds, dtype=np.float32)

    @cached_property
    def labels(self) -> LabelMap | None:
        """Labels of this frame, or of the predicted frame for a horizon beyond the next frame; None without labels."""
        return self.propagator.labels(ahead=len(self.motion.views) > 1)

    @property
    def label_stamp(self) -> int:
        """Time of `labels` in nanoseconds."""
        return self.motion.next_stamp if len(self.motion.views) > 1 else self.motion.stamp

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
    """An output topic.

    Attributes:
        name: of the topic.
        make: gives array and encoding, or None if this frame has no such output. It changes nothing.
        stamp: gives the time of the output in nanoseconds.
        needs: the state of the camera that must be advanced to this frame: "events", "mask" or none.
        picture: draws the array for a viewer, (H, W) or (H, W, 3) BGR uint8; None if it is no picture.
    """

    name: str
    make: Callable[[FrameContext], tuple[NDArray[np.generic], str] | None]
    stamp: Callable[[FrameContext], int] = lambda context: context.motion.stamp
    needs: str = ""
    picture: Callable[[NDArray[Any]], NDArray[np.uint8]] | None = None


class CameraState:
    """What is kept of one camera from frame to frame for its outputs.

    The events, and the motion mask, are advanced once a frame while an output that needs them is wanted. After a frame
    for which none was wanted, they start from that frame, as after a reset.
    """

    def __init__(self, propagator: LabelPropagator) -> None:
        self.propagator = propagator
        self._mask = MotionMask()

    def advance(
        self,
        motion: StepResult,
        wanted: Collection[Output],
        classes: ClassTable,
        events: CameraEvents,
        color_max: float = 0.0,
        flow_per_second: bool = False,
    ) -> FrameContext:
        """Take the next frame, before any of its outputs is made. Labels are advanced by their owner before.

        Args:
            motion: result of the step.
            wanted: outputs that will be made.
            classes, color_max, flow_per_second: see `FrameContext`.
            events: the event simulation of the camera for the present network.
        """
        needs = {output.needs for output in wanted}
        return FrameContext(
            motion,
            self.propagator,
            classes,
            color_max,
            events,
            events.advance(motion) if "events" in needs else None,
            self._mask.advance(motion) if "mask" in needs else None,
            flow_per_second,
        )


def _predicted(context: FrameContext) -> int:
    return context.motion.next_stamp


def _image(array: NDArray[np.generic]) -> tuple[NDArray[np.generic], str]:
    return array, "mono8" if array.ndim == 2 else "bgr8"


def _flow_color(context: FrameContext) -> tuple[NDArray[np.generic], str]:
    height, width = context.motion.image.shape[:2]
    # Colours are looked up at processing size, a fraction of the pixels, and then scaled like the flow itself.
    colors = flow_to_color(context.motion.small_flow, context.color_max or width / 40)
    return cv2.resize(colors, (width, height), interpolation=cv2.INTER_LINEAR), "bgr8"


def _surprise(context: FrameContext) -> tuple[NDArray[np.generic], str] | None:
    surprise = context.motion.surprise
    return None if surprise is None else (surprise, "32FC1")


def _confidence(context: FrameContext) -> tuple[NDArray[np.generic], str] | None:
    confidence = context.motion.confidence
    return None if confidence is None else (confidence, "32FC1")


def _labels(context: FrameContext) -> tuple[NDArray[np.generic], str] | None:
    labels = context.labels
    return None if labels is None else (labels, "mono8" if labels.dtype == np.uint8 else "mono16")


def _labels_color(context: FrameContext) -> tuple[NDArray[np.generic], str] | None:
    labels = context.labels
    return None if labels is None else (context.classes.draw(labels), "bgr8")


def _events(name: str) -> Callable[[FrameContext], tuple[NDArray[np.generic], str] | None]:
    def make(context: FrameContext) -> tuple[NDArray[np.generic], str] | None:
        counts: Counts | None = getattr(context, name)
        return None if counts is None else (events_to_grey(counts), "mono8")

    return make


def _events_color(name: str) -> Callable[[FrameContext], tuple[NDArray[np.generic], str] | None]:
    def make(context: FrameContext) -> tuple[NDArray[np.generic], str] | None:
        counts: Counts | None = getattr(context, name)
        return None if counts is None else (events_to_color(counts), "bgr8")

    return make


def _as_it_is(picture: NDArray[Any]) -> NDArray[np.uint8]:
    return picture.astype(np.uint8, copy=False)


def _heat_map(brightness: float) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """Draws values in [0, 1] as a heat map, ``brightness`` times as bright."""
    return lambda values: as_bgr(values * brightness)


def _motion_mask(context: FrameContext) -> tuple[NDArray[np.generic], str] | None:
    return None if context.mask is None else (context.mask, "mono8")


OUTPUTS = (
    Output("flow", lambda context: (context.flow, "32FC2")),
    Output("prediction", lambda context: _image(context.motion.prediction), _predicted, picture=_as_it_is),
    Output("flow_color", _flow_color, picture=_as_it_is),
    Output("surprise", _surprise, picture=_heat_map(SURPRISE_BRIGHTNESS)),
    Output("confidence", _confidence, _predicted, picture=_heat_map(1.0)),
    Output("decoded", lambda context: _image(context.motion.decoded), _predicted, picture=_as_it_is),
    Output("labels", _labels, lambda context: context.label_stamp),
    Output("labels_color", _labels_color, lambda context: context.label_stamp, picture=_as_it_is),
    Output("events", _events("events"), needs="events"),
    Output("events_color", _events_color("events"), needs="events", picture=_as_it_is),
    Output("predicted_events", _events("predicted_events"), _predicted, needs="events"),
    Output("predicted_events_color", _events_color("predicted_events"), _predicted, "events", _as_it_is),
    Output("surprise_events", _events("surprise_events")),
    Output("surprise_events_color", _events_color("surprise_events"), picture=_as_it_is),
    Output("motion_mask", _motion_mask, needs="mask", picture=_as_it_is),
)


class Made(NamedTuple):
    """An output of a frame: array (H, W) or (H, W, C) in the given encoding, and its time in nanoseconds."""

    output: Output
    array: NDArray[np.generic]
    encoding: str
    stamp: int

    @property
    def name(self) -> str:
        """Name of the output."""
        return self.output.name


def make(context: FrameContext, wanted: Iterable[Output]) -> Iterator[Made]:
    """Yield each wanted output that this frame has."""
    for output in wanted:
        made = output.make(context)
        if made is not None:
            yield Made(output, *made, output.stamp(context))
