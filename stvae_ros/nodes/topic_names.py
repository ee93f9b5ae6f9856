"""Names of topics."""

from __future__ import annotations

from rclpy.node import Node


def compressed_topic(node: Node, topic: str) -> str:
    """The topic of the compressed images of an image topic.

    As in image_transport, it is the remapped image topic with ``/compressed`` at its end. If the name with
    ``/compressed`` is itself remapped, that counts.

    Args:
        node: whose remappings count.
        topic: name of the image topic before remapping, relative or absolute.
    """
    name = f"{topic}/compressed"
    remapped = node.resolve_topic_name(name)
    if remapped != node.resolve_topic_name(name, only_expand=True):
        return remapped
    return f"{node.resolve_topic_name(topic)}/compressed"
