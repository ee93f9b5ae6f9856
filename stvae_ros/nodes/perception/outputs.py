"""The outputs of one camera as messages."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from rclpy.lifecycle import LifecyclePublisher
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from stvae_ros.nodes.conversion import array_to_compressed, array_to_image, to_nanoseconds, to_time
from stvae_ros.streaming.outputs import OUTPUTS, FrameContext, Output, make

COMPRESSED = "/compressed"
"""Suffix of the topic of an output's compressed pictures, as in image_transport."""
TOPICS: dict[str, type[Image | CompressedImage]] = {
    **{output.name: Image for output in OUTPUTS},
    **{output.name + COMPRESSED: CompressedImage for output in OUTPUTS if output.picture is not None},
}
"""Message type of each output topic of a camera, by name."""


def outputs_of(topics: Collection[str]) -> list[Output]:
    """The outputs that must be made for these `TOPICS`."""
    return [output for output in OUTPUTS if output.name in topics or output.name + COMPRESSED in topics]


def messages(
    context: FrameContext, wanted: Collection[str], header: Header, compressed_format: str
) -> Iterator[tuple[str, Image | CompressedImage]]:
    """Yield (topic, message) for each wanted topic of which this frame has an output.

    An output for the time of the input has the stamp of the input, even if that is 0.

    Args:
        context: of the frame.
        wanted: names from `TOPICS`.
        header: of the input.
        compressed_format: "jpeg" or "png".
    """
    for made in make(context, outputs_of(wanted)):
        ahead = made.stamp - context.motion.stamp
        stamp = to_time(to_nanoseconds(header.stamp) + ahead) if ahead else header.stamp
        if made.name in wanted:
            yield made.name, array_to_image(made.array, made.encoding, stamp, header.frame_id)
        if made.name + COMPRESSED in wanted and made.output.picture is not None:
            picture = made.output.picture(made.array)
            yield made.name + COMPRESSED, array_to_compressed(picture, compressed_format, stamp, header.frame_id)


def is_wanted(publisher: LifecyclePublisher) -> bool:
    """Whether the topic has a subscriber."""
    return publisher.get_subscription_count() > 0
