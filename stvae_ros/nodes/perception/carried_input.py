"""Messages of earlier frames, labels or detections, that one camera receives and carries along."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from typing import Any, ClassVar, Generic, TypeVar

from stvae_ros.nodes.conversion import ImageError
from stvae_ros.streaming import StepResult
from stvae_ros.streaming.carrying import Carrier, CarryError

_WAITING = 8
"""Largest number of messages that wait for the next frame."""
_DROPPED = 1000
"""Number of dropped frames whose labels or detections are recognized."""

M = TypeVar("M")


class CarriedInput(ABC, Generic[M]):
    """Receives messages and hands them to a propagator. `put` may be called from another thread than the other methods.

    Args:
        carrier: the propagator.
    """

    what: ClassVar[str]
    """The word for the messages in /diagnostics."""
    remedy: ClassVar[str]
    """The remedy if the messages belong to dropped frames."""

    def __init__(self, carrier: Carrier[Any, Any]) -> None:
        self._carrier = carrier
        self.received = 0
        self.refused: Counter[str] = Counter()
        self._waiting: deque[M] = deque()
        self._dropped: deque[int] = deque(maxlen=_DROPPED)

    def put(self, message: M) -> None:
        """Queue a message until the next frame. If too many wait, the oldest is dropped and counted."""
        self.received += 1
        self._waiting.append(message)
        while len(self._waiting) > _WAITING:
            self._waiting.popleft()
            self.refused["overtaken"] += 1

    def ignore(self, reason: str) -> None:
        """Count a message that came and is not used."""
        self.received += 1
        self.refused[reason] += 1

    def frame_dropped(self, stamp: int) -> None:
        """Remember the stamp of a frame that is not processed, in nanoseconds."""
        self._dropped.append(stamp)

    def clear(self) -> None:
        """Forget messages and frames."""
        self._waiting.clear()
        self._carrier.clear()

    def advance(self, motion: StepResult) -> list[str]:
        """Take the next frame, then the waiting messages. Returns the errors of those that cannot be used."""
        errors: list[CarryError | ImageError] = list(self._carrier.advance(motion))
        while self._waiting:
            message = self._waiting.popleft()
            try:
                self._take(message)
            except (CarryError, ImageError) as error:
                errors.append(error)
        self.refused.update(problem.reason for problem in errors)
        return [self._sentence(problem) for problem in errors]

    def values(self) -> dict[str, object]:
        """Values for /diagnostics; empty before the first message."""
        if not self.received:
            return {}
        return {
            f"{self.what} received": self.received,
            f"{self.what} refused": sum(self.refused.values()),
            **{f"{self.what} refused: {reason}": count for reason, count in sorted(self.refused.items())},
        }

    def _sentence(self, problem: CarryError | ImageError) -> str:
        if isinstance(problem, CarryError) and problem.stamp in self._dropped:
            return f"{problem}, because the node dropped that frame: {self.remedy}"
        return str(problem)

    @abstractmethod
    def _take(self, message: M) -> None:
        """Convert a message and add it to the propagator. Raises CarryError or ImageError if it cannot be used."""
