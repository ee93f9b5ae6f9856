"""The topics of one camera: its frames, its labels, its detections, and its outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from stvae_ros.events.images import EventImage
from stvae_ros.nodes.compat import PublisherEventCallbacks, SubscriptionEventCallbacks
from stvae_ros.nodes.perception.camera import Camera
from stvae_ros.nodes.perception.camera_detections import Detection2DArray
from stvae_ros.nodes.perception.camera_info import input_topic
from stvae_ros.nodes.perception.event_input import PacketInput, subscribe_to_packets
from stvae_ros.nodes.perception.qos import input_qos, output_qos, overridable
from stvae_ros.nodes.topic_names import compressed_topic

_DEPTH = 5
"""Queue depth of labels and detections, and of frames if only the newest is wanted."""
_PACKETS = 1000
"""Queue depth of event packets. There are many for each frame, and each is wanted."""


def advertise(node: LifecycleNode, camera: Camera, output: str, kind: Any = Image) -> LifecyclePublisher:
    """Create the publisher of an output of the camera; ``kind`` is the type of its messages."""
    return node.create_lifecycle_publisher(
        kind,
        f"~/{camera.topic(output)}",
        output_qos(),
        qos_overriding_options=overridable(),
        # Each event callback would cost the executor time for every image of every camera.
        event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
    )


def subscribe_to_frames(
    node: LifecycleNode, camera: Camera, packets_as: EventImage | None, put: Callable[[Image | CompressedImage], None]
) -> Subscription:
    """Call ``put`` with each image of the camera. Messages that the middleware loses are counted.

    packets_as: not None subscribes to the packets of an event camera instead, and makes such event images of them.
    """

    def count_lost(event: Any) -> None:
        camera.lost = event.total_count

    options: dict[str, Any] = {
        "qos_overriding_options": overridable(),
        "event_callbacks": SubscriptionEventCallbacks(message_lost=count_lost),
    }
    if packets_as is not None:
        packets = PacketInput(packets_as, node.get_parameter("max_image_pixels").value)
        return subscribe_to_packets(node, camera, packets, put, qos_profile=input_qos(_PACKETS), **options)
    compressed, topic = node.get_parameter("image_transport").value == "compressed", camera.topic("image")
    return node.create_subscription(
        CompressedImage if compressed else Image,
        compressed_topic(node, topic) if compressed else topic,
        put,
        input_qos(_DEPTH if camera.keep_newest else camera.limit),
        **options,
    )


def subscribe_to_labels(node: LifecycleNode, camera: Camera, put: Callable[[Image], None]) -> Subscription:
    """Call ``put`` with each label image of the camera."""
    return _subscribe(node, Image, camera.topic("segmentation"), put)


def advertise_detections(node: LifecycleNode, camera: Camera) -> dict[str, LifecyclePublisher]:
    """Create the publishers of carried detections, by name. There are none without vision_msgs."""
    if Detection2DArray is None:
        return {}
    kinds = {"detections": Detection2DArray, "detections_color": Image}
    return {name: advertise(node, camera, name, kind) for name, kind in kinds.items()}


def subscribe_to_detections(node: LifecycleNode, camera: Camera, put: Callable[[Any], None]) -> Subscription | None:
    """Call ``put`` with the detections of each frame of the camera. Returns None without vision_msgs."""
    if Detection2DArray is None:
        return None
    return _subscribe(node, Detection2DArray, camera.topic("detections"), put)


def subscribe_to_camera_info(node: LifecycleNode, camera: Camera, image_topic: str) -> Subscription:
    """Keep the newest camera_info of the camera, see `camera_info.input_topic`."""

    def keep(info: CameraInfo) -> None:
        camera.info = info

    return _subscribe(node, CameraInfo, input_topic(node, camera, image_topic), keep)


def _subscribe(node: LifecycleNode, kind: Any, topic: str, put: Callable[[Any], None]) -> Subscription:
    """Call ``put`` with each message, which is of type ``kind``."""
    return node.create_subscription(kind, topic, put, input_qos(_DEPTH), qos_overriding_options=overridable())
