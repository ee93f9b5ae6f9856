"""Events as arrays, and windows of them by time or by count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Events:
    """Changes of brightness at single pixels, in order of time.

    t: (N,) int64, nanoseconds. x, y: (N,) int32, column and row of the pixel. polarity: (N,) bool, True is ON
    (brighter). Raises ValueError for arrays of different lengths.
    """

    t: NDArray[np.int64]
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    polarity: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if not len(self.t) == len(self.x) == len(self.y) == len(self.polarity):
            lengths = [len(part) for part in (self.t, self.x, self.y, self.polarity)]
            raise ValueError(f"events of {lengths} stamps, columns, rows and polarities: give one of each per event")

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, part: slice | NDArray[np.generic]) -> Events:
        """Some of the events: a slice, a mask or an array of indices."""
        return Events(self.t[part], self.x[part], self.y[part], self.polarity[part])

    @property
    def signs(self) -> NDArray[np.int32]:
        """+1 for ON, -1 for OFF, (N,)."""
        return np.where(self.polarity, np.int32(1), np.int32(-1))

    @classmethod
    def of(cls, t: object, x: object, y: object, polarity: object) -> Events:
        """From any four sequences; their types are converted."""
        return cls(
            np.asarray(t, np.int64), np.asarray(x, np.int32), np.asarray(y, np.int32), np.asarray(polarity, np.bool_)
        )

    @classmethod
    def none(cls) -> Events:
        """No events."""
        return cls.of([], [], [], [])

    @classmethod
    def join(cls, parts: Iterable[Events]) -> Events:
        """One after the other."""
        parts = [cls.none(), *parts]
        return cls(
            np.concatenate([part.t for part in parts]),
            np.concatenate([part.x for part in parts]),
            np.concatenate([part.y for part in parts]),
            np.concatenate([part.polarity for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class Window:
    """The events from ``start`` to before ``end``, in nanoseconds."""

    events: Events
    start: int
    end: int


class TimeWindows:
    """Cuts a stream into windows of ``length`` nanoseconds without gaps, empty ones included.

    start: of the first window in nanoseconds, None for the first event. Raises ValueError for a length of 0.
    """

    def __init__(self, length: int, start: int | None = None) -> None:
        if length < 1:
            raise ValueError(f"a window of {length} ns: give at least 1")
        self.length, self._start, self._waiting = length, start, Events.none()

    def push(self, events: Events) -> Iterator[Window]:
        """Take the next events, in order of time; those before the current window are left out.

        Yields the windows that are over, since an event came after them.
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
    """All windows of `TimeWindows`; the last one is left out unless events came after it.

    chunks: events in order of time, of any number each; no more than one window and one chunk is held.
    """
    windows = TimeWindows(length, start)
    for chunk in chunks:
        yield from windows.push(chunk)


def windows_of_count(chunks: Iterable[Events], count: int) -> Iterator[Window]:
    """Windows of ``count`` events each; fewer at the end are left out. Raises ValueError for a count of 0."""
    if count < 1:
        raise ValueError(f"a window of {count} events: give at least 1")
    waiting, start = Events.none(), None
    for chunk in chunks:
        waiting = Events.join([waiting, chunk])
        while len(waiting) > count:
            start = int(waiting.t[0]) if start is None else start
            end = max(int(waiting.t[count]), start)
            yield Window(waiting[:count], start, end)
            waiting, start = waiting[count:], end
