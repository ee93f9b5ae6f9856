"""The labels of one camera in the node: label messages in, labels of the present frame out."""

from __future__ import annotations

from collections import Counter, deque

from sensor_msgs.msg import Image

from stvae_ros.data.image_sizes import check_size
from stvae_ros.nodes.conversion import RAISE_LIMIT, ImageError, labels_to_array, to_nanoseconds
from stvae_ros.streaming import StepResult
from stvae_ros.streaming.carrying import CarryError
from stvae_ros.streaming.labels import LabelMap, LabelPropagator

_WAITING = 8
"""Largest number of label images that wait for the next frame."""


class CameraLabels:
    """Receives and propagates labels. `put` may be called from another thread than the other methods.

    Args:
        history, fill: see `LabelPropagator`.
        max_pixels: larger label images are refused.
    """

    def __init__(self, history: float, fill: bool, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self.propagator = LabelPropagator(history, fill)
        self.received = 0
        self.refused: Counter[str] = Counter()
        self._waiting: deque[Image] = deque()

    def put(self, message: Image) -> None:
        """Queue a label image until the next frame. If too many wait, the oldest is dropped and counted."""
        self.received += 1
        self._waiting.append(message)
        while len(self._waiting) > _WAITING:
            self._waiting.popleft()
            self.refused["overtaken"] += 1

    def clear(self) -> None:
        """Forget labels and frames."""
        self._waiting.clear()
        self.propagator.clear()

    def advance(self, motion: StepResult) -> list[str]:
        """Take the next frame, then the waiting labels. Returns the errors of labels that cannot be used."""
        errors: list[CarryError | ImageError] = list(self.propagator.advance(motion))
        while self._waiting:
            message = self._waiting.popleft()
            try:
                check_size(message, self._max_pixels, RAISE_LIMIT)
                self.propagator.add(labels_to_array(message), to_nanoseconds(message.header.stamp))
            except (CarryError, ImageError) as error:
                errors.append(error)
        self.refused.update(problem.reason for problem in errors)
        return [str(problem) for problem in errors]

    def add(self, labels: LabelMap, stamp: int) -> str | None:
        """Take labels of the node's own segmenter for the frame at ``stamp``. Returns the error, if there is one."""
        self.received += 1
        try:
            self.propagator.add(labels, stamp)
        except CarryError as error:
            self.refused[error.reason] += 1
            return str(error)
        return None

    def values(self) -> dict[str, object]:
        """Values for /diagnostics; empty before the first label image."""
        if not self.received:
            return {}
        return {
            "labels received": self.received,
            "labels refused": sum(self.refused.values()),
            **{f"labels refused: {reason}": count for reason, count in sorted(self.refused.items())},
            "label age (s)": f"{self.propagator.age:.2f}",
            "label pixels trusted (%)": f"{100 * self.propagator.trusted:.1f}",
        }
