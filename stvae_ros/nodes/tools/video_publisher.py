"""A camera that plays a video file, a folder of images, a webcam or a built-in scene."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image

from stvae_ros.data.media import frame_rate, read_frames
from stvae_ros.data.scenes.names import DEMO, is_scene, open_scene
from stvae_ros.data.scenes.scene3d import Scene3D, Truth3D
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.events.readers import is_event_file
from stvae_ros.nodes.conversion import array_to_compressed, array_to_image
from stvae_ros.nodes.startup import ignored_parameters, ros
from stvae_ros.nodes.stopping import Stop
from stvae_ros.nodes.topic_names import compressed_topic

_GRACE_SECONDS = 0.5
"""Time before the first and after the last image.

Before it, a subscriber may not know this publisher yet. After it, a subscriber may still read the last image from the
shared memory of this process.
"""

_PARAMETERS: dict[str, tuple[Any, str]] = {
    "source": (
        DEMO,
        "A 3-D scene (scene3d:PLACE:MOTION with street, corridor or room, and drive, walk, fly, pan, shake or stand), "
        "synthetic (a scene of shapes), webcam:N, or the path of a video file, of a folder of images, or of an event "
        "recording (.aedat4, .h5, .txt). An event recording is published as grey event images of 33.3 ms each.",
    ),
    "rate": (
        0.0,
        "Frame rate in Hz; 0 is the rate of the file, or 30. A 3-D scene is filmed at 30 Hz and played at this rate.",
    ),
    "loop": (False, "Start again at the end of the source."),
    "frames": (0, "Stop after this many frames; 0 plays the source to its end. A scene has no end."),
    "width": (320, "Width of the scene in pixels."),
    "height": (240, "Height of the scene in pixels."),
    "seed": (0, "Seed of the scene."),
    "objects": (4, "Number of moving objects in the scene of shapes."),
    "max_speed": (6.0, "Largest speed of an object in the scene of shapes, in pixels per frame."),
    "label_rate": (
        0.0,
        "Rate in Hz of the scene's true labels on segmentation, like those of a slow segmenter.",
    ),
    "label_delay": (0.2, "Delay of these labels in seconds."),
    "frame_id": ("camera", "frame_id of the images."),
    "compressed": (False, "Publish sensor_msgs/CompressedImage (JPEG) on image/compressed instead of image."),
    "reliable": (False, "Publish reliably. Cameras, and the default, use best effort."),
    "wait_for_subscribers": (0, "Number of subscribers to wait for before the first frame."),
}


class VideoPublisher(Node):
    """Publishes `image` at a steady rate, stamped when it is sent.

    A scene also publishes its ground truth for subscribers, with the stamp of the frame: `ground_truth/flow` (32FC2,
    forward motion in pixels), `ground_truth/labels` (mono8, indices into `CLASS_NAMES` of `data.scenes.solids` or
    `data.scenes.shapes`), and a 3-D scene also `ground_truth/depth` (32FC1, metres). With `label_rate` some of these
    labels are published late on `segmentation`.

    Raises:
        MediaError: the source cannot be read.
        ValueError: a rate is below 0.
    """

    def __init__(self) -> None:
        super().__init__("video_publisher")
        for name, (default, description) in _PARAMETERS.items():
            self.declare_parameter(name, default, ParameterDescriptor(description=description))
        for sentence in ignored_parameters(self).values():
            self.get_logger().warning(sentence)
        self.finished = Future()
        self._sent = 0
        self._late_labels: deque[tuple[float, Image]] = deque()
        reliable = ReliabilityPolicy.RELIABLE if self._value("reliable") else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=reliable)
        compressed = self._value("compressed")
        self._images = self.create_publisher(
            CompressedImage if compressed else Image, compressed_topic(self, "image") if compressed else "image", qos
        )
        source = self._value("source")
        self._scene: SyntheticScene | Scene3D | None = None
        if is_scene(source):
            shapes = ("objects", "max_speed") if source.startswith("synthetic") else ()
            self._scene = open_scene(
                source,
                self._value("width"),
                self._value("height"),
                seed=self._value("seed"),
                **{name: self._value(name) for name in shapes},
            )
            if isinstance(self._scene, Scene3D):
                self._true_depth = self.create_publisher(Image, "ground_truth/depth", 5)
            self._true_flow = self.create_publisher(Image, "ground_truth/flow", 5)
            self._true_labels = self.create_publisher(Image, "ground_truth/labels", 5)
            if self._value("label_rate") > 0:
                self._segmentation = self.create_publisher(Image, "segmentation", 5)
        self._frames = self._play(source)
        self._next: NDArray[np.uint8] | None = next(self._frames)
        for name in ("rate", "label_rate", "label_delay"):
            if not 0 <= self._value(name) < math.inf:
                raise ValueError(f"{name} = {self._value(name)} must be 0 or more")
        self._rate = rate = self._value("rate") or frame_rate(source)
        self._waiting_ticks = math.ceil(rate * _GRACE_SECONDS) if self._value("wait_for_subscribers") else 0
        self.create_timer(1.0 / rate, self._tick)
        self.get_logger().info(f"playing {source} at {rate:g} Hz on {self._images.topic_name}")

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _play(self, source: str) -> Iterator[NDArray[np.uint8]]:
        if self._scene is not None:
            t = 0
            while True:
                yield self._scene.frame(t)
                t += 1
        while True:
            yield from _events(source) if is_event_file(source) else read_frames(source)
            if not self._value("loop"):
                return

    def _tick(self) -> None:
        if self._next is None:
            return
        if self._waiting_ticks > 0:
            if self._images.get_subscription_count() >= self._value("wait_for_subscribers"):
                self._waiting_ticks -= 1
            return
        self._send(self._next)
        self._sent += 1
        limit = self._value("frames")
        self._next = None if limit and self._sent >= limit else next(self._frames, None)
        if self._next is None:
            self.get_logger().info(f"end of {self._value('source')} after {self._sent} frames")
            self.create_timer(_GRACE_SECONDS, lambda: self.finished.set_result(None))

    def _send(self, frame: NDArray[np.uint8]) -> None:
        stamp, frame_id = self.get_clock().now().to_msg(), self._value("frame_id")
        message = array_to_image(frame, "mono8" if frame.ndim == 2 else "bgr8", stamp, frame_id)
        if self._value("compressed"):
            self._images.publish(array_to_compressed(frame, "jpeg", stamp, frame_id))
        else:
            self._images.publish(message)
        if self._scene is None:
            return
        wants_flow, wants_labels = (
            publisher.get_subscription_count() > 0 for publisher in (self._true_flow, self._true_labels)
        )
        wants_depth = isinstance(self._scene, Scene3D) and self._true_depth.get_subscription_count() > 0
        label_rate, now = self._value("label_rate"), self._sent / self._rate
        is_labelled = label_rate > 0 and self._sent % max(round(self._rate / label_rate), 1) == 0
        if wants_flow or wants_labels or wants_depth or is_labelled:
            truth = self._scene.truth(self._sent)
            labels = array_to_image(truth.labels, "mono8", stamp, frame_id)
            if wants_flow:
                self._true_flow.publish(array_to_image(truth.forward_flow, "32FC2", stamp, frame_id))
            if wants_depth and isinstance(truth, Truth3D):
                self._true_depth.publish(array_to_image(truth.depth, "32FC1", stamp, frame_id))
            if wants_labels:
                self._true_labels.publish(labels)
            if is_labelled:
                self._late_labels.append((now + self._value("label_delay"), labels))
        while self._late_labels and self._late_labels[0][0] <= now:
            self._segmentation.publish(self._late_labels.popleft()[1])


def _events(path: str) -> Iterator[NDArray[np.uint8]]:
    from stvae_ros.nodes.perception.event_input import event_frames  # This imports PyTorch, which takes seconds.

    return event_frames(path)


def main() -> None:
    """Play the source until its end, SIGINT or SIGTERM."""
    with Stop() as stop, ros("video_publisher"):
        node = VideoPublisher()
        stop.spin(node, node.finished)
        node.destroy_node()


if __name__ == "__main__":
    main()
