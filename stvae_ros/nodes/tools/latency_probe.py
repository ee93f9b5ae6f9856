"""A camera that measures the latency of a perception node, and prints it as JSON."""

from __future__ import annotations

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import Image

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import array_to_image, to_nanoseconds
from stvae_ros.nodes.perception.camera import STAGES
from stvae_ros.nodes.tools.probe import Probe, run_probe

_END_TO_END = "stamp to subscriber of ~/flow"


class LatencyProbe(Probe):
    """Publishes 640x480 colour frames at ``rate`` and subscribes to ~/flow and ~/prediction only.

    The frames are drawn at the start, so that the camera needs little of the processor. `finished` is done after
    ``frames`` frames and the next diagnostics.
    """

    def __init__(self) -> None:
        super().__init__("latency_probe")
        self._frames = int(self.declare_parameter("frames", 300).value or 0)
        rate = float(self.declare_parameter("rate", 30.0).value or 30.0)
        scene = SyntheticScene(0, 640, 480)
        self._images = [scene.frame(t) for t in range(16)]
        self._sent = 0
        self.finished = Future()
        self._latencies: list[float] = []
        self._values: dict[str, str] = {}
        self._camera = self.create_publisher(Image, "image", qos_profile_sensor_data)
        self.create_timer(1.0 / rate, self._show)
        self._diagnostics_since_end = 0
        self.create_subscription(Image, "perception/flow", self._on_flow, 10)
        self.create_subscription(Image, "perception/prediction", lambda message: None, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _show(self) -> None:
        if self._sent < self._frames and self._camera.get_subscription_count() > 0:
            stamp = self.get_clock().now().to_msg()
            self._camera.publish(array_to_image(self._images[self._sent % 16], "bgr8", stamp, "camera"))
            self._sent += 1

    def _on_flow(self, message: Image) -> None:
        now = self.get_clock().now().nanoseconds
        self._latencies.append((now - to_nanoseconds(message.header.stamp)) / 1e6)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "perception: camera":
                self._values = {pair.key: pair.value for pair in status.values}
        self._diagnostics_since_end += self._sent >= self._frames
        if self._diagnostics_since_end > 2 and not self.finished.done():
            self.finished.set_result(None)

    def figures(self) -> dict[str, object]:
        """Frames published and processed, and (median, 99th percentile) in milliseconds of each stage."""
        stages = {
            stage: (float(self._values[f"{stage} median (ms)"]), float(self._values[f"{stage} 99 % (ms)"]))
            for stage in STAGES
        }
        stages[_END_TO_END] = (float(np.median(self._latencies)), float(np.percentile(self._latencies, 99)))
        return {"frames shown": self._sent, "frames processed": int(self._values["frames processed"]), "stages": stages}


def main() -> None:
    """Measure and print."""
    run_probe(LatencyProbe)


if __name__ == "__main__":
    main()
