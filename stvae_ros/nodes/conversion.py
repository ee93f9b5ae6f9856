"""ROS messages to arrays and back. `stvae_ros.data.image_messages` knows the encodings."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from stvae_ros.data.image_messages import (
    ImageError,
    compressed_to_array,
    image_to_array,
    labels_to_array,
)

__all__ = [
    "RAISE_LIMIT",
    "ImageError",
    "array_to_image",
    "compressed_to_array",
    "image_to_array",
    "labels_to_array",
    "to_nanoseconds",
    "to_time",
]

RAISE_LIMIT = "; raise max_image_pixels if it is right"
"""Remedy for an image that is too large."""
_LAST = 2**31 * 1_000_000_000 - 1


def to_nanoseconds(stamp: Time) -> int:
    """Convert the stamp of a message to nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def to_time(nanoseconds: int) -> Time:
    """Convert nanoseconds to the stamp of a message, at most the latest one that a stamp can hold, in 2038."""
    nanoseconds = min(nanoseconds, _LAST)
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def array_to_image(array: NDArray[Any], encoding: str, stamp: Time, frame_id: str) -> Image:
    """Make a message of an array, (H, W) or (H, W, C), in the given encoding.

    The bytes are copied through the buffer of ``data``. An assignment would check every byte in Python.
    """
    array = np.ascontiguousarray(array)
    message = Image(
        header=Header(stamp=stamp, frame_id=frame_id),
        height=array.shape[0],
        width=array.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=array.strides[0],
    )
    message.data.frombytes(array.data.cast("B"))
    return message
