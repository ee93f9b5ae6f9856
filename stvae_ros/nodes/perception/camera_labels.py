"""The labels of one camera in the node: label messages in, labels of the present frame out."""

from __future__ import annotations

from sensor_msgs.msg import Image

from stvae_ros.data.image_sizes import check_size
from stvae_ros.nodes.conversion import RAISE_LIMIT, labels_to_array, to_nanoseconds
from stvae_ros.nodes.perception.carried_input import CarriedInput
from stvae_ros.streaming.carrying import CarryError
from stvae_ros.streaming.labels import LabelMap, LabelPropagator


class CameraLabels(CarriedInput[Image]):
    """Receives and propagates labels. `put` may be called from another thread than the other methods.

    Args:
        history, fill: see `LabelPropagator`.
        max_pixels: larger label images are refused.
    """

    what = "labels"
    remedy = "lower the rate of the camera, or label other frames"

    def __init__(self, history: float, fill: bool, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self.propagator = LabelPropagator(history, fill)
        super().__init__(self.propagator)

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
        values = super().values()
        if values:
            values["label age (s)"] = f"{self.propagator.age:.2f}"
            values["label pixels trusted (%)"] = f"{100 * self.propagator.trusted:.1f}"
        return values

    def _take(self, message: Image) -> None:
        check_size(message, self._max_pixels, RAISE_LIMIT)
        self.propagator.add(labels_to_array(message), to_nanoseconds(message.header.stamp))
