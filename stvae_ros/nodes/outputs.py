"""The outputs of one camera as messages, and who wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rclpy.lifecycle import LifecyclePublisher
from sensor_msgs.msg import Image

from stvae_ros.nodes.conversion import array_to_image, to_time
from stvae_ros.streaming.outputs import Moment, Output, make


def messages(moment: Moment, wanted: Iterable[Output], frame_id: str) -> Iterator[tuple[str, Image]]:
    """Yield (output name, message) for each wanted output that this frame has. frame_id: of the input."""
    for made in make(moment, wanted):
        yield made.name, array_to_image(made.array, made.encoding, to_time(made.stamp), frame_id)


def is_wanted(publisher: LifecyclePublisher) -> bool:
    """Whether somebody subscribes."""
    return publisher.get_subscription_count() > 0
