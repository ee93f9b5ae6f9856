"""Messages of earlier frames, labels or detections, that one camera receives and carries along."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, ClassVar, Generic, TypeVar

from stvae_ros.nodes.conversion import ImageError
from stvae_ros.streaming import StepResult
from stvae_ros.streaming.carrying import Carrier, CarryError

_WAITING = 8
"""Largest number of messages that wait for the next frame."""

M = TypeVar("M")


class CarriedInput(Generic[M]):
    """Receives messages and hands them to a propagator. `put` may be called from another thread than the other methods.

    Args:
        carrier: the propagator.
    """

    what: ClassVar[str]
    """The word for the messages in /diagnostics."""

    def __init__(self, carrier: Carrier[Any, Any]) -> None:
        self._carrier = carrier
        self.received = 0
        self.refused: Counter[str] = Counter()
        self._waiting: deque[M] = deque()

    def put(self, message: M) -> None:
        """Queue a message until the next frame. If too many wait, the oldest is dropped and counted."""
        self.received += 1
        self._waiting.append(message)
        while len(self._waiting) > _WAITING:
            self._waiting.popleft()
            self.refused["overtaken"] += 1

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
        return [str(problem) for problem in errors]

    def values(self) -> dict[str, object]:
        """Values for /diagnostics; empty before the first message."""
        if not self.received:
            return {}
        return {
            f"{self.what} received": self.received,
            f"{self.what} refused": sum(self.refused.values()),
            **{f"{self.what} refused: {reason}": count for reason, count in sorted(self.refused.items())},
        }

    def _take(self, message: M) -> None:
        """Convert a message and add it to the propagator. Raises CarryError or ImageError if it cannot be used."""
        raise NotImplementedError
