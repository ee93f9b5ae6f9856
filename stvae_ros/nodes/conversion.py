"""Image messages to arrays and back.

8-bit colour and grey images are read as NumPy views without a copy. Bayer, YUV and 16-bit images go through
cv_bridge where it imports, else through the PyPI package `rosbags-image`.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

Array = NDArray[np.uint8]

# Encoding: channels, and what turns it into grey or BGR (None: nothing to do).
_DIRECT: dict[str, tuple[int, int | None]] = {
    "mono8": (1, None),
    "8UC1": (1, None),
    "bgr8": (3, None),
    "8UC3": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "8UC4": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
}

# Bytes per pixel and the type we ask the converter for, by what the name of the encoding starts with.
_CONVERTED: dict[str, tuple[int, str]] = {
    "mono16": (2, "mono8"),
    "16UC1": (2, "mono8"),
    "bgr16": (6, "bgr8"),
    "rgb16": (6, "bgr8"),
    "16UC3": (6, "bgr8"),
    "bgra16": (8, "bgr8"),
    "rgba16": (8, "bgr8"),
    "uyvy": (2, "bgr8"),
    "yuv422": (2, "bgr8"),
    "yuyv": (2, "bgr8"),
    "yuv422_yuy2": (2, "bgr8"),
    **{f"bayer_{pattern}8": (1, "bgr8") for pattern in ("rggb", "bggr", "gbrg", "grbg")},
    **{f"bayer_{pattern}16": (2, "bgr8") for pattern in ("rggb", "bggr", "gbrg", "grbg")},
}


class ImageError(ValueError):
    """An image message that cannot be read; ``reason`` is a short name to count it by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def to_nanoseconds(stamp: Time) -> int:
    """A message's time stamp in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def to_time(nanoseconds: int) -> Time:
    """Nanoseconds as a message's time stamp."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def image_to_array(message: Image) -> Array:
    """A raw image as (H, W) grey or (H, W, 3) BGR uint8; may share memory with the message.

    Honours ``step`` and ``is_bigendian``; 16 bits are scaled to 8. Raises ImageError (reasons: "zero size",
    "unknown encoding", "wrong step", "truncated").
    """
    if message.height == 0 or message.width == 0:
        raise ImageError("zero size", f"an image of {message.width}x{message.height} has no pixels")
    if message.encoding in _DIRECT:
        channels, code = _DIRECT[message.encoding]
        rows = _rows(message, channels)
        shape = (message.height, message.width) if channels == 1 else (message.height, message.width, channels)
        image = rows.reshape(shape)
        return image if code is None else cv2.cvtColor(image, code).astype(np.uint8, copy=False)
    if message.encoding in _CONVERTED:
        bytes_per_pixel, target = _CONVERTED[message.encoding]
        rows = _rows(message, bytes_per_pixel)
        packed = Image(
            height=message.height,
            width=message.width,
            encoding=_without_type_name(message.encoding),
            is_bigendian=message.is_bigendian,
            step=rows.shape[1],
        )
        packed.data.frombytes(np.ascontiguousarray(rows).data)
        return _convert(packed, target)
    raise ImageError(
        "unknown encoding",
        f"encoding {message.encoding!r} is not supported; publish one of: {', '.join([*_DIRECT, *_CONVERTED])}",
    )


def _without_type_name(encoding: str) -> str:
    """16UC1 and 16UC3 say how the numbers are stored; as camera images they are grey and BGR."""
    return {"16UC1": "mono16", "16UC3": "bgr16"}.get(encoding, encoding)


def _rows(message: Image, bytes_per_pixel: int) -> Array:
    """The bytes that hold pixels, (H, W * bytes_per_pixel), the padding at the end of each row left out."""
    used = message.width * bytes_per_pixel
    if message.step < used:
        raise ImageError(
            "wrong step",
            f"step {message.step} is too small: {message.width} pixels of {message.encoding} take {used} bytes",
        )
    data = np.frombuffer(message.data, np.uint8)
    needed = message.step * (message.height - 1) + used
    if data.size < needed:
        raise ImageError("truncated", f"the image has {data.size} bytes of data and needs {needed}")
    if data.size < message.step * message.height:
        data = np.pad(data, (0, message.step * message.height - data.size))
    return data[: message.step * message.height].reshape(message.height, message.step)[:, :used]


def _convert(message: Image, target: str) -> Array:
    try:
        converted = _converter()(message, target)
    except ImportError as error:
        raise ImageError(
            "unknown encoding",
            f"encoding {message.encoding!r} needs cv_bridge (ROS package) or rosbags-image (pip install rosbags-image)",
        ) from error
    except Exception as error:  # cv_bridge, rosbags-image and OpenCV each raise their own kinds.
        raise ImageError("unknown encoding", f"encoding {message.encoding!r} cannot be converted: {error}") from error
    return np.ascontiguousarray(converted, np.uint8)


def _converter() -> Any:
    """A function (message, encoding) -> array, from the first converter that imports."""
    try:
        from cv_bridge import CvBridge

        return CvBridge().imgmsg_to_cv2
    except (ImportError, AttributeError):  # AttributeError: a cv_bridge built for NumPy 1 under NumPy 2
        from rosbags.image import message_to_cvimage

        return message_to_cvimage


def labels_to_array(message: Image) -> NDArray[np.unsignedinteger]:
    """A label image as (H, W) uint8 or uint16; may share memory with the message.

    Raises ImageError (reasons: "wrong type", "zero size", "wrong step", "truncated").
    """
    size = {"mono8": 1, "8UC1": 1, "mono16": 2, "16UC1": 2}.get(message.encoding)
    if size is None:
        raise ImageError("wrong type", f"labels come as mono8 or mono16 images, not as {message.encoding!r}")
    if message.height == 0 or message.width == 0:
        raise ImageError("zero size", f"labels of {message.width}x{message.height} have no pixels")
    rows = _rows(message, size)
    if size == 1:
        return rows
    order = ">u2" if message.is_bigendian else "<u2"
    return np.ascontiguousarray(rows).view(order).astype(np.uint16, copy=False)


def compressed_to_array(message: CompressedImage) -> Array:
    """A JPEG or PNG image as (H, W) grey or (H, W, 3) BGR uint8. Raises ImageError ("not decodable")."""
    data = np.frombuffer(message.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR) if data.size else None
    if image is None:
        raise ImageError("not decodable", f"{data.size} bytes of format {message.format!r} are not a JPEG or PNG image")
    return image.astype(np.uint8, copy=False)


def array_to_image(array: NDArray[Any], encoding: str, stamp: Time, frame_id: str) -> Image:
    """A message that holds ``array``, (H, W) or (H, W, C), under the given encoding.

    The bytes go in through the buffer of ``data``: assigning an array would check every byte in Python.
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
