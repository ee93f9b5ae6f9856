"""Frame budget: whether the frames of a camera are processed as fast as they come."""

from __future__ import annotations

from collections import deque
from enum import Enum
from statistics import median

_WINDOW = 5.0
_SUSTAINED_CYCLES = 3


class Load(Enum):
    """The cycles of the last five seconds, compared with the time between two frames."""

    WITHIN = "within the budget"
    ONCE = "once over the budget"
    SUSTAINED = "at least three cycles over the budget, and half of the time spent in them"


class Budget:
    """Measures the cycles of one camera. All times are in seconds of a monotonic clock.

    A cycle is the conversion, prediction and publication of one frame, with the wait for other cameras.
    """

    def __init__(self) -> None:
        self._last_arrival: float | None = None
        self._last_end = float("-inf")
        self._intervals: deque[float] = deque(maxlen=15)
        self._cycles: deque[tuple[float, float, bool]] = deque(maxlen=2000)

    def arrived(self, now: float) -> None:
        """Note the arrival of a frame."""
        if self._last_arrival is not None:
            self._intervals.append(now - self._last_arrival)
        self._last_arrival = now

    def spent(self, now: float, since: float) -> None:
        """Note a cycle that ends ``now`` and began ``since``, or at the end of the cycle before if that is later."""
        seconds = now - max(since, self._last_end)
        self._last_end = now
        self._cycles.append((now, seconds, bool(self._intervals) and seconds > self.period))

    @property
    def period(self) -> float:
        """Median time between the last arrivals; infinite before the second arrival."""
        return median(list(self._intervals)) if self._intervals else float("inf")

    def load(self, now: float) -> tuple[Load, float]:
        """The load, and the longest cycle in seconds."""
        recent = [(seconds, over) for end, seconds, over in list(self._cycles) if now - end <= _WINDOW]
        longest = max((seconds for seconds, _ in recent), default=0.0)
        overs = [seconds for seconds, over in recent if over]
        if not overs:
            return Load.WITHIN, longest
        sustained = len(overs) >= _SUSTAINED_CYCLES and sum(overs) > 0.5 * _WINDOW
        return Load.SUSTAINED if sustained else Load.ONCE, longest
