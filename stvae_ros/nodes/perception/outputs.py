"""The outputs of one camera as messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rclpy.lifecycle import LifecyclePublisher
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from stvae_ros.nodes.conversion import array_to_image, to_nanoseconds, to_time
from stvae_ros.streaming.outputs import FrameContext, Output, make


def messages(context: FrameContext, wanted: Iterable[Output], header: Header) -> Iterator[tuple[str, Image]]:
    """Yield (output name, message) for each wanted output that this frame has.

    An output for the time of the input has the stamp of the input, even if that is 0.

    Args:
        context: of the frame.
        wanted: outputs to make.
        header: of the input.
    """
    for made in make(context, wanted):
        ahead = made.stamp - context.motion.stamp
        stamp = to_time(to_nanoseconds(header.stamp) + ahead) if ahead else header.stamp
        yield made.name, array_to_image(made.array, made.encoding, stamp, header.frame_id)


def is_wanted(publisher: LifecyclePublisher) -> bool:
    """Whether the topic has a subscriber."""
    return publisher.get_subscription_count() > 0
