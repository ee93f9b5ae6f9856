"""Rates and latencies over the recent past."""

from __future__ import annotations

from collections import deque


class Timings:
    """The last 300 durations of one kind, in milliseconds."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=300)

    def add(self, milliseconds: float) -> None:
        """Add one duration."""
        self._values.append(milliseconds)

    def percentile(self, q: float) -> float:
        """The q-th percentile in milliseconds (nearest rank); NaN before the first duration."""
        values = sorted(self._values)
        return values[round(q / 100 * (len(values) - 1))] if values else float("nan")


class Rate:
    """Events per second over the last five seconds."""

    _WINDOW = 5.0

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=2000)

    def add(self, now: float) -> None:
        """Add an event at ``now``, in seconds of a monotonic clock."""
        self._times.append(now)

    def per_second(self, now: float) -> float:
        """Events per second in the window that ends at ``now``."""
        recent = [t for t in list(self._times) if now - t <= self._WINDOW]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max(now - recent[0], 1e-9)
