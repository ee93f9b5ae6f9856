"""Whether a camera's frames are processed as fast as they come."""

from __future__ import annotations

from collections import deque
from enum import Enum
from statistics import median

_WINDOW = 5.0
_SUSTAINED_CYCLES = 10
_SUSTAINED_SHARE = 0.5


class Load(Enum):
    """How the cycles of the last five seconds compare with the time between two frames."""

    WITHIN = "within the budget"
    ONCE = "once over the budget"
    SUSTAINED = "most cycles over the budget, of at least ten"


class Budget:
    """Times in seconds of a monotonic clock. A cycle is the conversion, prediction and publication of one frame."""

    def __init__(self) -> None:
        self._last_arrival: float | None = None
        self._intervals: deque[float] = deque(maxlen=15)
        self._cycles: deque[tuple[float, float, bool]] = deque(maxlen=2000)

    def arrived(self, now: float) -> None:
        """A frame came."""
        if self._last_arrival is not None:
            self._intervals.append(now - self._last_arrival)
        self._last_arrival = now

    def spent(self, now: float, seconds: float) -> None:
        """A cycle that ended ``now`` took so long."""
        self._cycles.append((now, seconds, bool(self._intervals) and seconds > self.period))

    @property
    def period(self) -> float:
        """Median time between the last arrivals, infinite before the second."""
        return median(list(self._intervals)) if self._intervals else float("inf")

    def load(self, now: float) -> tuple[Load, float]:
        """The load, and the longest cycle in seconds."""
        recent = [(seconds, over) for end, seconds, over in list(self._cycles) if now - end <= _WINDOW]
        longest = max((seconds for seconds, _ in recent), default=0.0)
        overs = sum(over for _, over in recent)
        if overs == 0:
            return Load.WITHIN, longest
        sustained = len(recent) >= _SUSTAINED_CYCLES and overs > _SUSTAINED_SHARE * len(recent)
        return Load.SUSTAINED if sustained else Load.ONCE, longest
