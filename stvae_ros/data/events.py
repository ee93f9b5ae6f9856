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


def windows_of_time(chunks: Iterable[Events], length: int, start: int | None = None) -> Iterator[Window]:
    """Windows of ``length`` nanoseconds without gaps, empty ones included, from ``start`` or the first event on.

    chunks: events in order of time, of any number each; no more than one window and one chunk is held. Events before
    ``start`` are left out, and so is the last window unless events came after it. Raises ValueError for a length of 0.
    """
    if length < 1:
        raise ValueError(f"a window of {length} ns: give at least 1")
    waiting = Events.none()
    for chunk in chunks:
        waiting = Events.join([waiting, chunk])
        if not len(waiting):
            continue
        start = int(waiting.t[0]) if start is None else start
        while len(waiting) and waiting.t[-1] >= start + length:
            first, last = np.searchsorted(waiting.t, (start, start + length))
            yield Window(waiting[first:last], start, start + length)
            waiting, start = waiting[last:], start + length


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
