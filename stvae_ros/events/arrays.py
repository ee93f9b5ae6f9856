"""Arrays of camera events, and windows of equal length cut from a stream of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Events:
    """Brightness changes at single pixels, sorted by time.

    Attributes:
        t: stamps, (N,) int64, nanoseconds.
        x: columns, (N,) int32.
        y: rows, (N,) int32.
        polarity: (N,) bool, True for ON (brighter), False for OFF (darker).

    Raises:
        ValueError: the arrays have different lengths.
    """

    t: NDArray[np.int64]
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    polarity: NDArray[np.bool_]

    def __post_init__(self) -> None:
        lengths = [len(part) for part in (self.t, self.x, self.y, self.polarity)]
        if len(set(lengths)) > 1:
            raise ValueError(f"events of {lengths} stamps, columns, rows and polarities: give one of each per event")

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, part: slice | NDArray[np.generic]) -> Events:
        """Selects events by a slice, a mask or an array of indices."""
        return Events(self.t[part], self.x[part], self.y[part], self.polarity[part])

    @property
    def signs(self) -> NDArray[np.int32]:
        """+1 for ON and -1 for OFF, (N,)."""
        return np.where(self.polarity, np.int32(1), np.int32(-1))

    @classmethod
    def of(cls, t: object, x: object, y: object, polarity: object) -> Events:
        """Converts four sequences of any number type."""
        return cls(
            np.asarray(t, np.int64), np.asarray(x, np.int32), np.asarray(y, np.int32), np.asarray(polarity, np.bool_)
        )

    @classmethod
    def none(cls) -> Events:
        """Zero events."""
        return cls.of([], [], [], [])

    @classmethod
    def join(cls, parts: Iterable[Events]) -> Events:
        """Concatenates events; the parts must follow each other in time."""
        columns = [(part.t, part.x, part.y, part.polarity) for part in (cls.none(), *parts)]
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))


@dataclass(frozen=True, eq=False)
class Window:
    """The events with ``start`` <= t < ``end``, in nanoseconds."""

    events: Events
    start: int
    end: int


class TimeWindows:
    """Cuts a stream of events into adjacent windows of equal length; windows without events are included."""

    def __init__(self, length: int, start: int | None = None) -> None:
        """Starts with an empty stream.

        Args:
            length: length of a window in nanoseconds.
            start: start of the first window in nanoseconds; None takes the stamp of the first event.

        Raises:
            ValueError: the length is less than 1.
        """
        if length < 1:
            raise ValueError(f"a window of {length} ns: give at least 1")
        self.length, self._start, self._waiting = length, start, Events.none()

    def push(self, events: Events) -> Iterator[Window]:
        """Adds events to the stream.

        Args:
            events: the next events. Events before the current window are dropped.

        Yields:
            The windows that are complete, that is, the stream has an event after their end.
        """
        self._waiting = Events.join([self._waiting, events])
        if self._start is None and len(self._waiting):
            self._start = int(self._waiting.t[0])
        while self._start is not None and len(self._waiting) and self._waiting.t[-1] >= self._start + self.length:
            start = self._start
            first, last = np.searchsorted(self._waiting.t, (start, start + self.length))
            part, self._waiting, self._start = self._waiting[first:last], self._waiting[last:], start + self.length
            yield Window(part, start, self._start)


def windows_of_time(chunks: Iterable[Events], length: int, start: int | None = None) -> Iterator[Window]:
    """Cuts a stream into windows as `TimeWindows` does; holds one window and one chunk in memory.

    Args:
        chunks: the events, sorted by time, in chunks of any size.
        length: length of a window in nanoseconds.
        start: start of the first window in nanoseconds; None takes the stamp of the first event.

    Yields:
        The windows. The last window is left out unless events follow it.

    Raises:
        ValueError: the length is less than 1.
    """
    windows = TimeWindows(length, start)
    for chunk in chunks:
        yield from windows.push(chunk)
