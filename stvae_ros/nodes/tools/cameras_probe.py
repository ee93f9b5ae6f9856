"""Several cameras that measure the throughput of a perception node, and print it as JSON."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import Image

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import array_to_image, to_nanoseconds
from stvae_ros.nodes.tools.probe import Probe, run_probe

_SETTLE_SECONDS = 3.0
"""Time of publishing before the count begins."""


class CamerasProbe(Probe):
    """Publishes colour frames on cameraN/image, one camera after the other, and subscribes to ~/cameraN/flow.

    Its parameters are the number of ``cameras``, the ``rate`` of each in Hz, ``width`` and ``height``, and the
    ``seconds`` to count. `finished` is done after this time and the next diagnostics.
    """

    def __init__(self) -> None:
        super().__init__("cameras_probe")
        self._names = [f"camera{index}" for index in range(int(self._declare("cameras", 1)))]
        rate, self._seconds = float(self._declare("rate", 15.0)), float(self._declare("seconds", 10.0))
        scene = SyntheticScene(0, int(self._declare("width", 320)), int(self._declare("height", 240)))
        self._images = [scene.frame(t) for t in range(16)]
        self.finished = Future()
        self._sent = 0
        self._start = float("inf")
        self._shown: set[tuple[str, int]] = set()
        self._answered: Counter[str] = Counter(dict.fromkeys(self._names, 0))
        self._latencies: list[float] = []
        self._worst: dict[str, str] = {}
        self._cameras = [self.create_publisher(Image, f"{name}/image", qos_profile_sensor_data) for name in self._names]
        for name in self._names:
            topic = f"perception/{name}/flow"
            self.create_subscription(Image, topic, partial(self._on_flow, name), 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.create_timer(1.0 / (rate * len(self._names)), self._show)

    def _declare(self, name: str, default: float) -> float:
        value: float = self.declare_parameter(name, default).value or default
        return value

    def _is_counting(self) -> bool:
        return 0.0 <= time.monotonic() - self._start < self._seconds

    def _show(self) -> None:
        if self._start == float("inf"):
            if all(camera.get_subscription_count() for camera in self._cameras):
                self._start = time.monotonic() + _SETTLE_SECONDS
            return
        if time.monotonic() - self._start >= self._seconds:
            return
        index = self._sent % len(self._names)
        image = self._images[self._sent // len(self._names) % 16]
        now = self.get_clock().now()
        if self._is_counting():
            self._shown.add((self._names[index], now.nanoseconds))
        self._cameras[index].publish(array_to_image(image, "bgr8", now.to_msg(), self._names[index]))
        self._sent += 1

    def _on_flow(self, name: str, message: Image) -> None:
        stamp = to_nanoseconds(message.header.stamp)
        if (name, stamp) in self._shown:
            self._answered[name] += 1
            self._latencies.append((self.get_clock().now().nanoseconds - stamp) / 1e6)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name = status.name.removeprefix("perception: ")
            if self._is_counting() and name in self._names and status.level != status.OK:
                self._worst[name] = status.message
        if time.monotonic() - self._start > self._seconds + 1.0 and not self.finished.done():
            self.finished.set_result(None)

    def figures(self) -> dict[str, object]:
        """Rates of frames in Hz: published, answered, and answered of the camera with the fewest answers.

        "median" and "99" are latencies in milliseconds from the stamp to the subscriber of ~/cameraN/flow, NaN without
        answers. "said" has the messages of /diagnostics for cameras with a problem.
        """
        latencies = self._latencies or [float("nan")]
        return {
            "shown": len(self._shown) / self._seconds,
            "answered": sum(self._answered.values()) / self._seconds,
            "least": min(self._answered.values()) / self._seconds,
            "median": float(np.median(latencies)),
            "99": float(np.percentile(latencies, 99)),
            "said": self._worst,
        }


def main() -> None:
    """Measure and print."""
    run_probe(CamerasProbe)


if __name__ == "__main__":
    main()
