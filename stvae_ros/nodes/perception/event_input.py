"""The input of a network that sees events: a camera's frames, event images, or the packets of an event camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

from stvae_ros.data.image_sizes import check_size
from stvae_ros.data.media import MediaError
from stvae_ros.events.arrays import Events, TimeWindows, windows_of_time
from stvae_ros.events.images import EventImage
from stvae_ros.events.packets import PacketDecoder
from stvae_ros.events.readers import open_events
from stvae_ros.events.simulator import EventModel, EventSimulator
from stvae_ros.nodes.conversion import RAISE_LIMIT, ImageError, array_to_image, to_nanoseconds, to_time
from stvae_ros.nodes.perception.camera import Camera
from stvae_ros.streaming.camera_events import CameraEvents
from stvae_ros.streaming.flow import Image as Array

try:
    from event_camera_msgs import msg as event_camera_msgs
except ImportError:
    event_camera_msgs = None

FRAMES, IMAGES, PACKETS = "frames", "images", "packets"
"""Values of the parameter event_source."""
_JUMP = 1_000_000_000
"""Largest drift between the sensor's clock and the message stamps, and longest time without events, in nanoseconds."""


class SimulatedInput:
    """Turns the frames of one camera into event images."""

    def __init__(self, shown: EventImage, model: EventModel) -> None:
        self._shown, self._simulator = shown, EventSimulator(model)
        self._stamp = 0

    def __call__(self, image: Array, stamp: int) -> Array:
        """Make the event image of a frame.

        Args:
            image: (H, W) grey or (H, W, 3) BGR, uint8.
            stamp: in nanoseconds.

        Returns:
            (H, W) uint8. It shows no events for the first frame, and after a stamp that is not later than the last one.
        """
        if stamp <= self._stamp:
            self._simulator.reset()
        self._stamp = stamp
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
        made = self._simulator.step(grey, stamp)
        return self._shown.of_counts(np.zeros(grey.shape, np.int16) if made is None else made.counts)[..., 0]


class CameraInput:
    """How a network sees one camera.

    Args:
        shown: the input of the network if it sees events, else None.
        source: the parameter event_source.
        model: of the simulated event camera.

    Attributes:
        events: the events of the camera's frames.
    """

    def __init__(self, shown: EventImage | None, source: str, model: EventModel) -> None:
        self.events = CameraEvents(shown=shown)
        self._wants_events = shown is not None
        self._simulated = SimulatedInput(shown, model) if shown is not None and source == FRAMES else None

    def prepare(self, image: Array, stamp: int) -> Array:
        """Make what the network sees of an image; ``stamp`` is in nanoseconds.

        Raises:
            ImageError: an event image is expected, and this one has colours.
        """
        if self._simulated is not None:
            return self._simulated(image, stamp)
        if self._wants_events and image.ndim == 3:
            raise ImageError("not an event image", "expected grey event images; for a camera set event_source: frames")
        return image


def event_frames(path: str) -> Iterator[Array]:
    """Yield the windows of an event recording as event images, (H, W). Raises MediaError."""
    recording, shown = open_events(path), EventImage()
    for window in windows_of_time(recording.read(), round(shown.window * 1e6)):
        yield shown.draw(window.events, recording.height, recording.width)[..., 0]


class PacketInput:
    """Turns the packets of one event camera into event images, one for each window of time.

    Args:
        shown: the event image of the network.
        max_pixels: packets of larger sensors are refused.
    """

    def __init__(self, shown: EventImage, max_pixels: int) -> None:
        self._shown, self._max_pixels = shown, max_pixels
        self._decoder: PacketDecoder | None = None
        self._windows = TimeWindows(round(shown.window * 1e6))
        self._offset: int | None = None
        self._last = 0

    def images(self, packet: Any) -> Iterator[Image]:
        """Take a packet and yield each finished window as a mono8 image, with the stamp of its end.

        The first packet relates the sensor's time to the message stamps. After more than a second without events there
        are no images for that time.

        Args:
            packet: an event_camera_msgs/EventPacket.

        Raises:
            ImageError: the packet cannot be decoded (reasons: "too large", "zero size", "unknown encoding").
            MediaError: the packet is damaged.
        """
        check_size(packet, self._max_pixels, RAISE_LIMIT)
        height, width = int(packet.height), int(packet.width)
        if 0 in (height, width):
            raise ImageError("zero size", f"packets of events of a sensor of {width}x{height} pixels")
        decoder = self._decoder
        if decoder is None or (decoder.encoding, decoder.height, decoder.width) != (packet.encoding, height, width):
            try:
                self._decoder = decoder = PacketDecoder(packet.encoding, height, width)
                self._offset = None
            except MediaError as error:
                raise ImageError("unknown encoding", str(error)) from None
        events = decoder.decode(np.frombuffer(packet.events, np.uint8), int(packet.time_base))
        if not len(events):
            return
        if events.t[-1] - events.t[0] > _JUMP:
            seconds = (events.t[-1] - events.t[0]) / 1e9
            raise MediaError(f"a packet of events over {seconds:g} s is damaged and is dropped")
        offset = to_nanoseconds(packet.header.stamp) - int(events.t[0])
        if self._offset is None or abs(offset - self._offset) > _JUMP:
            self._offset, self._windows = offset, TimeWindows(self._windows.length)
        moved = Events(events.t + self._offset, events.x, events.y, events.polarity)
        if moved.t[0] - self._last > _JUMP:
            self._windows = TimeWindows(self._windows.length)
        self._last = int(moved.t[-1])
        for window in self._windows.push(moved):
            image = self._shown.draw(window.events, height, width)[..., 0]
            yield array_to_image(image, "mono8", to_time(window.end), packet.header.frame_id)


def take_packet(
    packet: Any, source: PacketInput, camera: Camera, put: Callable[[Image], None], log: Callable[[str], object]
) -> None:
    """Count a packet of a camera and ``put`` its images. An unusable packet is counted by its reason and logged."""
    camera.packets += 1
    camera.last_arrival = time.monotonic()
    try:
        for image in source.images(packet):
            put(image)
    except (ImageError, MediaError) as error:
        camera.reject_packet(error.reason if isinstance(error, ImageError) else "damaged", str(error))
        log(str(error))
    except Exception:
        camera.reject_packet("internal error", "a packet of events failed inside the node: see its log")
        raise


def check_event_source(source: str, shown: EventImage | None) -> None:
    """Check the parameter event_source. Raises ValueError for packets without the package event_camera_msgs."""
    if shown is not None and source == PACKETS and event_camera_msgs is None:
        raise ValueError(
            "event_source: packets needs the ROS package event_camera_msgs, which is not installed: "
            "apt install ros-$ROS_DISTRO-event-camera-msgs"
        )


def subscribe_to_packets(
    node: LifecycleNode, camera: Camera, source: PacketInput, put: Callable[[Image], None], **options: Any
) -> Subscription:
    """Call ``put`` with each event image of a camera's packets; ``options`` are those of `create_subscription`."""
    topic = camera.topic("events_in")

    def warn(problem: str) -> None:
        node.get_logger().warning(f"{topic}: {problem}", throttle_duration_sec=5.0)

    return node.create_subscription(
        event_camera_msgs.EventPacket, topic, lambda packet: take_packet(packet, source, camera, put, warn), **options
    )
