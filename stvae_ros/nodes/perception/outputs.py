"""The outputs of one camera as messages, and who wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rclpy.lifecycle import LifecyclePublisher
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from stvae_ros.nodes.conversion import array_to_image, to_nanoseconds, to_time
from stvae_ros.streaming.outputs import FrameContext, Output, make


def messages(moment: FrameContext, wanted: Iterable[Output], header: Header) -> Iterator[tuple[str, Image]]:
    """Yield (output name, message) for each wanted output that this frame has. header: of the input.

    What is for the time of the input has its very stamp, even where the node took the time of arrival for a stamp of 0.
    """
    for made in make(moment, wanted):
        ahead = made.stamp - moment.motion.stamp
        stamp = to_time(to_nanoseconds(header.stamp) + ahead) if ahead else header.stamp
        yield made.name, array_to_image(made.array, made.encoding, stamp, header.frame_id)


def is_wanted(publisher: LifecyclePublisher) -> bool:
    """Whether somebody subscribes."""
    return publisher.get_subscription_count() > 0
