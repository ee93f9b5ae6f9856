"""Which image topics of a bag are cameras, by name and by the encoding of their first message."""

from __future__ import annotations

import re
from typing import Any

from stvae_ros.data.compressed_images import compressed_to_array
from stvae_ros.data.image_messages import ImageError, image_to_array

_DERIVED = re.compile(r"/ground_truth/|/perception/|/segmentation$|/labels(_color)?$|/flow(_color)?$|/surprise$")
_DEPTH = {"16UC1", "32FC1"}


def refusal_of_name(topic: str) -> str | None:
    """The reason why a topic with this name is no camera; None if it may be one."""
    return "its name is that of labels, of ground truth or of an output of the node" if _DERIVED.search(topic) else None


def refusal_of_message(message: Any, compressed: bool) -> str | None:
    """The reason why the topic of an image message is no camera; None if it is one.

    A message that is damaged is no reason.

    Args:
        message: sensor_msgs/Image, or sensor_msgs/CompressedImage if ``compressed``.
        compressed: see ``message``.
    """
    named = message.format if compressed else message.encoding
    if named.partition(";")[0].strip() in _DEPTH or "compressedDepth" in named:
        return f"{named.strip()!r} is depth or another measure, not brightness"
    try:
        if not compressed:
            image_to_array(message)
        elif not re.search("jpe?g|png", named, re.IGNORECASE):
            compressed_to_array(message)
    except ImageError as error:
        if compressed or error.reason == "unknown encoding":
            return str(error).partition("; publish one of")[0]
    return None
