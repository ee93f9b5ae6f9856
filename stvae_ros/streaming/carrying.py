"""Labels and boxes of an earlier frame are carried to the present frame: the rules of time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.streaming.flow import Flow, Image
from stvae_ros.streaming.step_result import StepResult

_WAITING = 4
"""Largest number of labels, or of sets of boxes, that wait for their frames."""


class CarryError(ValueError):
    """Labels or boxes that cannot be used. The message gives the details, ``reason`` a word or two.

    ``stamp`` is that of the labels or boxes if their frame is missing, else None.
    """

    def __init__(self, reason: str, message: str, stamp: int | None = None) -> None:
        super().__init__(message)
        self.reason, self.stamp = reason, stamp


@dataclass(eq=False)
class SeenFrame:
    """A frame at processing size, and its motion.

    Attributes:
        stamp: in nanoseconds.
        size: height and width of the camera's image.
        image: (h, w, C) uint8.
        flow: backward flow to the frame before, (h, w, 2).
    """

    stamp: int
    size: tuple[int, int]
    image: Image
    flow: NDArray[np.float16]

    @cached_property
    def grey(self) -> NDArray[np.float32]:
        """(h, w) in [0, 1]."""
        image = cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY) if self.image.shape[2] == 3 else self.image[..., 0]
        return np.multiply(image, 1 / 255, dtype=np.float32)


class Carried(Protocol):
    """Labels or boxes, carried to the present frame."""

    @property
    def source(self) -> SeenFrame:
        """The frame that they belong to."""
        ...


T = TypeVar("T")
C = TypeVar("C", bound=Carried)


class Carrier(ABC, Generic[T, C]):
    """Carries labels or boxes of one camera. Call `advance` for every frame, and `add` when labels or boxes come.

    It keeps the frames of the last ``history`` seconds and their flow at processing size, the newest labels or boxes,
    and up to four whose frames have not come yet. A reset of the camera's memory empties it. Not thread-safe.

    Args:
        history: largest delay, in seconds.

    Raises:
        ValueError: the history is not positive.
    """

    what: ClassVar[str]
    """The word for labels or boxes in messages."""

    def __init__(self, history: float = 2.0) -> None:
        if not history > 0:
            raise ValueError(f"label history = {history} s must be more than 0")
        self.history = history
        self._seen: deque[SeenFrame] = deque()
        self._waiting: dict[int, T] = {}
        self._carried: C | None = None
        self._motion: StepResult | None = None

    def clear(self) -> None:
        """Forget labels or boxes, and the frames."""
        self._seen.clear()
        self._waiting.clear()
        self._carried = self._motion = None

    def advance(self, motion: StepResult) -> list[CarryError]:
        """Take the next frame. Returns the errors of labels or boxes that waited for it."""
        if motion.reset is not None:
            self.clear()
        self._motion, image, flow = motion, motion.views[0].small, _backward_flow(motion)
        height, width = motion.image.shape[:2]
        self._seen.append(SeenFrame(motion.stamp, (height, width), image, flow.astype(np.float16)))
        while motion.stamp - self._seen[0].stamp > self.history * 1e9:
            self._seen.popleft()
        if self._carried is not None:
            self._carried = self._on(self._carried, self._seen[-1], flow)
        refused = []
        for stamp in sorted(stamp for stamp in self._waiting if stamp <= motion.stamp):
            try:
                self._begin(self._waiting.pop(stamp), stamp)
            except CarryError as error:
                refused.append(error)
        return refused

    def add(self, given: T, stamp: int) -> None:
        """Take labels or boxes. They replace older ones. If their frame has not come yet, they wait for it.

        Args:
            given: labels or boxes.
            stamp: of the frame that they belong to, in nanoseconds.

        Raises:
            CarryError: they are too late, from the future, of no known frame, or older than the present ones. Nothing
                is changed then.
        """
        newest = self._seen[-1].stamp if self._seen else stamp
        late = (newest - stamp) / 1e9
        if late > self.history:
            raise CarryError(
                "too late", f"{self.what} came {late:.2f} s after their frame; label_history is {self.history} s"
            )
        if -late > self.history:
            raise CarryError(
                "from the future", f"{self.what} are {-late:.2f} s ahead of the camera; compare their stamps"
            )
        if self._carried is not None and stamp < self._carried.source.stamp:
            raise CarryError(
                "overtaken", f"{self.what} of {stamp} ns are older than those in use, {self._carried.source.stamp} ns"
            )
        if not self._seen or stamp > newest:
            self._waiting[stamp] = given
            while len(self._waiting) > _WAITING:
                del self._waiting[min(self._waiting)]
            return
        self._begin(given, stamp)

    @property
    def age(self) -> float:
        """Seconds from the frame of the labels or boxes to the last frame; NaN without any."""
        if self._carried is None or self._motion is None:
            return float("nan")
        return (self._motion.stamp - self._carried.source.stamp) / 1e9

    @abstractmethod
    def _start(self, source: SeenFrame, given: T) -> C:
        """Start at the frame that labels or boxes belong to."""

    @abstractmethod
    def _on(self, carried: C, frame: SeenFrame, flow: Flow) -> C:
        """Go on by one frame. ``flow`` is the backward flow of the frame, (h, w, 2) at processing size."""

    def _begin(self, given: T, stamp: int) -> None:
        """Carry labels or boxes from their frame to the present frame."""
        frames = list(self._seen)
        index = min(range(len(frames)), key=lambda number: abs(frames[number].stamp - stamp))
        distance = abs(frames[index].stamp - stamp)
        assert self._motion is not None
        if distance > self._motion.period:
            raise CarryError(
                "no such frame", f"{self.what} of {stamp} ns: the nearest frame is {distance / 1e6:.0f} ms away", stamp
            )
        carried = self._start(frames[index], given)
        for frame in frames[index + 1 :]:
            carried = self._on(carried, frame, frame.flow.astype(np.float32))
        self._carried = carried


def _backward_flow(motion: StepResult) -> Flow:
    """Backward flow to the last frame at processing size: the observed flow, or else the predicted one."""
    if motion.small_observed is not None:
        return motion.small_observed
    if motion.previous is not None:
        return motion.previous.small_backward
    return np.zeros((*motion.views[0].small.shape[:2], 2), np.float32)
