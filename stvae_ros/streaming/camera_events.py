"""Events of one camera: between its frames, to the predicted frame, and of surprise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.events.images import EventImage
from stvae_ros.events.simulator import EventModel, EventSimulator
from stvae_ros.streaming.flow import Image
from stvae_ros.streaming.step_result import FramePrediction, StepResult

Counts = NDArray[np.integer]
"""Signed counts of events, (H, W), negative for OFF."""


class CameraEvents:
    """Simulates the events between the frames of a camera.

    If `advance` was not called for the last frame, it starts anew from that frame.

    Args:
        model: of the event camera.
        shown: the frames are such event images themselves; None for camera frames.
    """

    def __init__(self, model: EventModel | None = None, shown: EventImage | None = None) -> None:
        self.shown = shown
        self._last: FramePrediction | None = None
        self._simulator = EventSimulator(model or EventModel())

    def set_model(self, model: EventModel) -> None:
        """Use another model from the next frame on."""
        if model != self._simulator.model:
            self._simulator, self._last = EventSimulator(model), None

    def advance(self, motion: StepResult) -> Counts | None:
        """Take the next frame. Returns the events from the last frame to it; None for the first frame after a reset."""
        if self.shown is not None:
            return self._counted(motion.image)
        fresh, self._last = self._last, motion.views[0]
        if motion.previous is None:
            self._simulator.reset()
        elif motion.previous is not fresh:
            self._simulator.reset()
            self._simulator.step(_grey(motion.previous.image), motion.stamp - motion.period)
        made = self._simulator.step(_grey(motion.image), motion.stamp)
        return None if made is None else made.counts

    def predicted(self, motion: StepResult) -> Counts | None:
        """The events from this frame, which `advance` has taken, to the predicted one. Nothing is changed."""
        if self.shown is not None:
            return self._counted(motion.prediction)
        made = self._simulator.preview(_grey(motion.prediction), motion.next_stamp)
        return None if made is None else made.counts

    def surprise(self, motion: StepResult) -> Counts | None:
        """The events from the prediction of this frame to this frame; None for the first frame after a reset."""
        if motion.previous is None:
            return None
        expected = motion.previous.next_image
        if self.shown is not None:
            return self._counted(motion.image).astype(np.int16) - self._counted(expected)
        simulator = EventSimulator(self._simulator.model)
        simulator.step(_grey(expected), 0)
        made = simulator.step(_grey(motion.image), 1)
        return None if made is None else made.counts

    def _counted(self, image: Image) -> Counts:
        """Counts of events of an event image, rounded."""
        assert self.shown is not None
        return np.round((_grey(image).astype(np.float32) - 128) * (self.shown.limit / 127)).astype(np.int16)


def _grey(image: Image) -> Image:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
