"""A robot for tests: a camera and a listener in this process, the package's nodes in processes of their own."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from networks import small_network as small_network
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from stvae_ros.cli.processes import module_of
from stvae_ros.nodes.conversion import array_to_image, to_time

_domains = itertools.count(os.getpid() % 90)
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

CAMERA_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE_QOS = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
"""From end to end, so that no message can be lost without a word."""
RELIABLE_IMAGES: dict[str, object] = {
    "qos_overrides./image.subscription.reliability": "reliable",
    "qos_overrides./image.subscription.history": "keep_all",
}
"""Parameters of a node for images of `RELIABLE_QOS`."""
MS = 1_000_000


def new_domain() -> int:
    """A ROS domain that no other test of this run has used, in none of its processes (pytest-xdist)."""
    return next(_domains) % (100 // _PROCESSES) * _PROCESSES + _PROCESS + 1


class Robot:
    """One ROS domain; leaving the context stops, by process id, what was started in it."""

    def __init__(self, domain: int | None = None) -> None:
        self.domain = domain or new_domain()
        self.context = Context()
        self.processes: list[subprocess.Popen[str]] = []
        self.messages: dict[str, list[Any]] = defaultdict(list)
        self.camera_qos = CAMERA_QOS
        self._publishers: dict[str, Any] = {}
        self._listening: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> Robot:
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = Node("test_robot", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.listen("/diagnostics", DiagnosticArray)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = [process for process in self.processes if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.shutdown()
        if error is None:
            codes = [process.returncode for process in running]
            assert not any(codes), f"exit codes after SIGINT: {codes}"

    def start(
        self, executable: str, remap: tuple[str, ...] = (), output: TextIO | None = None, **parameters: object
    ) -> subprocess.Popen[str]:
        """Start an executable of the package. Its output goes to ``output``, or is shown when a test fails."""
        command = [sys.executable, "-m", module_of(executable), "--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        for rule in remap:
            command += ["-r", rule]
        environment = {**os.environ, "ROS_DOMAIN_ID": str(self.domain)}
        process = subprocess.Popen(command, env=environment, text=True, stdout=output, stderr=output)
        self.processes.append(process)
        return process

    def start_perception(self, output: TextIO | None = None, **parameters: object) -> subprocess.Popen[str]:
        """Start the perception node and wait until it is active."""
        process = self.start("perception_node", output=output, **parameters)
        self.wait_for(lambda: self.process()[1].get("state") == "active", 60)
        return process

    def wait_for(self, condition: Callable[[], Any], seconds: float = 40.0) -> Any:
        """Spin until ``condition`` gives something true and return it; fail after ``seconds``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            result = condition()
            if result:
                return result
            self.executor.spin_once(timeout_sec=0.02)
        raise AssertionError(f"not within {seconds} s; last diagnostics: {self.diagnostics()}")

    def spin(self, seconds: float) -> None:
        """Take what comes for some time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)

    def listen(self, topic: str, kind: type = Image, qos: QoSProfile | int = 50) -> None:
        """Collect a topic in `messages`."""
        self._listening[topic] = self.node.create_subscription(kind, topic, self.messages[topic].append, qos)

    def publish(self, message: Image | CompressedImage, topic: str = "image") -> None:
        """Publish on a camera topic with `camera_qos`; the first time, wait for its subscriber and our outputs."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(type(message), topic, self.camera_qos)
            self.wait_for(lambda: self._publishers[topic].get_subscription_count() > 0)
            outputs = [subscription for name, subscription in self._listening.items() if "/perception/" in name]
            self.wait_for(lambda: all(output.get_publisher_count() > 0 for output in outputs))
            self._wait_until_heard(topic)
        publisher = self._publishers[topic]
        publisher.publish(message)

    def _wait_until_heard(self, topic: str) -> None:
        """Wait until the subscriber of a camera topic knows our publisher. Before that, best effort loses images."""
        name, before = self.node.resolve_topic_name(topic), len(self.messages["/diagnostics"])

        def statuses(since: int) -> list[DiagnosticStatus]:
            """Of the camera with this topic, in the messages from number ``since`` on."""
            recent = [status for message in self.messages["/diagnostics"][since:] for status in message.status]
            return [status for status in recent if any((p.key, p.value) == ("topic", name) for p in status.values)]

        if statuses(0):
            self.wait_for(lambda: any("nobody publishes" not in status.message for status in statuses(before)))
        else:
            self.spin(0.5)  # The subscriber is another node, which does not report what it knows.

    def show(self, image: np.ndarray, stamp: int, topic: str = "image", encoding: str = "bgr8") -> None:
        """Publish an array with a stamp in nanoseconds and frame id "lens"."""
        self.publish(array_to_image(image, encoding, to_time(stamp), "lens"), topic)

    def feed(self, images: list[np.ndarray], wait_topic: str, encoding: str = "bgr8", start: int = 1) -> None:
        """Show images 40 ms apart, each after the node has answered the one before on ``wait_topic``."""
        for index, image in enumerate(images):
            before = len(self.messages[wait_topic])
            self.show(image, (start + index) * 40 * MS, encoding=encoding)
            self.wait_for(lambda before=before: len(self.messages[wait_topic]) > before)

    def diagnostics(self) -> dict[str, DiagnosticStatus]:
        """Latest status by name."""
        return {status.name: status for message in self.messages["/diagnostics"] for status in message.status}

    def _status(self, name: str) -> tuple[DiagnosticStatus | None, dict[str, str]]:
        status = self.diagnostics().get(name)
        return status, {} if status is None else {pair.key: pair.value for pair in status.values}

    def camera(self, name: str = "camera") -> tuple[DiagnosticStatus | None, dict[str, str]]:
        """Status of one camera of the perception node, and its values."""
        return self._status(f"perception: {name}")

    def process(self) -> tuple[DiagnosticStatus | None, dict[str, str]]:
        """Status of the process of the perception node, and its values."""
        return self._status("perception: process")

    def count(self, key: str, camera: str = "camera") -> int:
        """A counter of a camera, 0 if it is not there yet."""
        return int(self.camera(camera)[1].get(key, 0))

    def set_text(self, name: str, text: str) -> str:
        """Set a text parameter of the perception node; returns why it was refused, empty if it was not."""
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text)
        parameters = [Parameter(name=name, value=value)]
        return self.call(SetParameters, "/perception/set_parameters", parameters=parameters).results[0].reason

    def call(self, kind: Any, service: str, **fields: Any) -> Any:
        """Call a service and return its response; the first time, wait for the server. It may load a network."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
            self.wait_for(self._clients[service].service_is_ready, 60)
            self.spin(0.5)  # The server has yet to learn of the client; before, the response is lost.
        future = self._clients[service].call_async(kind.Request(**fields))
        self.wait_for(future.done, 60)
        return future.result()
