"""ROS messages to arrays and back. `stvae_ros.data.image_messages` knows the encodings, and cv_bridge may know more."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from stvae_ros.data import image_messages
from stvae_ros.data.compressed_images import compressed_format, compressed_to_array
from stvae_ros.data.image_messages import BitDepth, ImageError, labels_to_array

__all__ = [
    "RAISE_LIMIT",
    "ImageError",
    "array_to_compressed",
    "array_to_image",
    "compressed_to_array",
    "image_to_array",
    "labels_to_array",
    "to_nanoseconds",
    "to_time",
]

RAISE_LIMIT = "; raise max_image_pixels if it is right"
"""Remedy for an image that is too large."""
_COMPRESSION: dict[str, tuple[str, tuple[int, ...]]] = {
    "jpeg": (".jpg", (cv2.IMWRITE_JPEG_QUALITY, 85)),
    "png": (".png", ()),  # The default of OpenCV is three times as fast as a compression level, at 10 % more bytes.
}
_LAST = 2**31 * 1_000_000_000 - 1


def image_to_array(message: Image, depth: BitDepth | None = None) -> NDArray[np.uint8]:
    """Convert a raw image as `image_messages.image_to_array` does. cv_bridge, if it is installed, converts the others.

    Args:
        message: the image.
        depth: of its camera; None for images that use all 16 bits.

    Raises:
        ImageError: see `image_messages.image_to_array`.
    """
    try:
        return image_messages.image_to_array(message, depth)
    except ImageError as error:
        if error.reason != "unknown encoding":
            raise
        converted = _by_cv_bridge(message)
        if converted is None:
            raise
        return converted


def _by_cv_bridge(message: Image) -> NDArray[np.uint8] | None:
    """The image as (H, W, 3) BGR; None if cv_bridge is not installed, or does not know the encoding either."""
    try:
        # It is imported when it is needed: a cv_bridge that was built for another NumPy fails here.
        from cv_bridge import CvBridge

        return np.asarray(CvBridge().imgmsg_to_cv2(message, "bgr8"), np.uint8)
    except Exception:  # It raises various types for damaged messages.
        return None


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


def array_to_compressed(picture: NDArray[np.uint8], kind: str, stamp: Time, frame_id: str) -> CompressedImage:
    """Make a compressed image whose ``format`` is that of image_transport.

    Args:
        picture: (H, W) grey or (H, W, 3) BGR.
        kind: "jpeg" or "png".
        stamp: of the header.
        frame_id: of the header.
    """
    suffix, options = _COMPRESSION[kind]
    message = CompressedImage(
        header=Header(stamp=stamp, frame_id=frame_id), format=compressed_format(kind, is_color=picture.ndim == 3)
    )
    message.data.frombytes(cv2.imencode(suffix, picture, options)[1].data)
    return message
