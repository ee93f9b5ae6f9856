"""Image messages of ROS as arrays: sensor_msgs/Image and CompressedImage, from rclpy or from a bag.

The node and the evaluation of bags both use this module, so a frame is the same array in both. rosbags-image is no
replacement: it ignores ``step``.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.media import Image


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that describe its pixels; ``data`` is any buffer."""

    height: int
    width: int
    encoding: str
    is_bigendian: Any
    step: int
    data: Any


class CompressedMessage(Protocol):
    """The fields of sensor_msgs/CompressedImage; ``data`` is any buffer."""

    format: str
    data: Any


class _Encoding(NamedTuple):
    """Bytes per value, values per pixel, and the OpenCV conversion to grey or BGR (None: no conversion)."""

    depth: int
    channels: int
    code: int | None = None


_BAYER = {
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
}
_ENCODINGS: dict[str, _Encoding] = {
    **{f"mono{8 * depth}": _Encoding(depth, 1) for depth in (1, 2)},
    **{f"{8 * depth}UC1": _Encoding(depth, 1) for depth in (1, 2)},
    **{f"bgr{8 * depth}": _Encoding(depth, 3) for depth in (1, 2)},
    **{f"{8 * depth}UC3": _Encoding(depth, 3) for depth in (1, 2)},
    **{f"rgb{8 * depth}": _Encoding(depth, 3, cv2.COLOR_RGB2BGR) for depth in (1, 2)},
    **{f"bgra{8 * depth}": _Encoding(depth, 4, cv2.COLOR_BGRA2BGR) for depth in (1, 2)},
    "8UC4": _Encoding(1, 4, cv2.COLOR_BGRA2BGR),
    **{f"rgba{8 * depth}": _Encoding(depth, 4, cv2.COLOR_RGBA2BGR) for depth in (1, 2)},
    **{name: _Encoding(1, 2, cv2.COLOR_YUV2BGR_UYVY) for name in ("uyvy", "yuv422")},
    **{name: _Encoding(1, 2, cv2.COLOR_YUV2BGR_YUYV) for name in ("yuyv", "yuv422_yuy2")},
    **{f"bayer_{name}{8 * depth}": _Encoding(depth, 1, code) for name, code in _BAYER.items() for depth in (1, 2)},
}
_FLOATS = {"32FC1": 1, "32FC2": 2, "32FC3": 3}
_LABELS = {"mono8": 1, "8UC1": 1, "mono16": 2, "16UC1": 2}


class ImageError(ValueError):
    """An image message cannot be converted. ``reason`` is a short name, by which the node counts such messages."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def image_to_array(message: ImageMessage) -> Image:
    """Converts a raw image; honours ``step`` and ``is_bigendian``, and scales 16 bits to 8.

    Args:
        message: the image.

    Returns:
        (H, W) grey or (H, W, 3) BGR uint8; may share memory with the message.

    Raises:
        ImageError: "zero size", "unknown encoding", "wrong step" or "truncated".
    """
    _check_not_empty(message)
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        known = ", ".join(_ENCODINGS)
        raise ImageError("unknown encoding", f"encoding {message.encoding!r} is not supported; publish one of: {known}")
    pixels = _values(message, np.dtype(f"u{encoding.depth}"), encoding.channels)
    if encoding.code is not None:
        try:
            pixels = np.asarray(cv2.cvtColor(pixels, encoding.code))
        except cv2.error as error:
            size = f"{message.width}x{message.height}"
            raise ImageError(
                "unknown encoding", f"an image of {size} cannot be {message.encoding!r}: {error.err}"
            ) from error
    if encoding.depth == 2:
        pixels = np.multiply(pixels, 255 / 65535, dtype=np.float32)
    return pixels.astype(np.uint8, copy=False)


def labels_to_array(message: ImageMessage) -> NDArray[np.unsignedinteger]:
    """Converts a label image.

    Args:
        message: the label image.

    Returns:
        (H, W) uint8 or uint16; may share memory with the message.

    Raises:
        ImageError: "wrong type", "zero size", "wrong step" or "truncated".
    """
    depth = _LABELS.get(message.encoding)
    if depth is None:
        raise ImageError("wrong type", f"labels come as mono8 or mono16 images, not as {message.encoding!r}")
    _check_not_empty(message)
    return _values(message, np.dtype(f"u{depth}"), 1)


def floats_to_array(message: ImageMessage) -> NDArray[np.float32]:
    """Converts an image of encoding 32FC1, 32FC2 or 32FC3.

    Args:
        message: the image.

    Returns:
        (H, W) or (H, W, C) float32; may share memory with the message.

    Raises:
        ImageError: "wrong type", "zero size", "wrong step" or "truncated".
    """
    channels = _FLOATS.get(message.encoding)
    if channels is None:
        raise ImageError("wrong type", f"expected one of {', '.join(_FLOATS)}, not {message.encoding!r}")
    _check_not_empty(message)
    return _values(message, np.dtype("f4"), channels)


def compressed_to_array(message: CompressedMessage) -> Image:
    """Decodes a JPEG or PNG image.

    Args:
        message: the compressed image.

    Returns:
        (H, W) grey or (H, W, 3) BGR uint8.

    Raises:
        ImageError: "not decodable".
    """
    data = np.frombuffer(message.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR) if data.size else None
    if image is None:
        raise ImageError("not decodable", f"{data.size} bytes of format {message.format!r} are not a JPEG or PNG image")
    return image.astype(np.uint8, copy=False)


def _check_not_empty(message: ImageMessage) -> None:
    if message.height == 0 or message.width == 0:
        raise ImageError("zero size", f"an image of {message.width}x{message.height} has no pixels")


def _values(message: ImageMessage, kind: np.dtype[Any], channels: int) -> NDArray[Any]:
    """The pixels, (H, W) or (H, W, channels), in the byte order of this machine; a view where possible."""
    used = message.width * kind.itemsize * channels
    if message.step < used:
        raise ImageError(
            "wrong step",
            f"step {message.step} is too small: {message.width} pixels of {message.encoding} take {used} bytes",
        )
    data = np.frombuffer(message.data, np.uint8)
    needed = message.step * (message.height - 1) + used
    if data.size < needed:
        raise ImageError("truncated", f"the image has {data.size} bytes of data and needs {needed}")
    # Strides instead of a reshape, since the padding of the last row may be missing.
    rows = np.lib.stride_tricks.as_strided(data, (message.height, used), (message.step, 1), writeable=False)
    shape = (message.height, message.width) if channels == 1 else (message.height, message.width, channels)
    if kind.itemsize == 1:
        return rows.reshape(shape)
    stored = kind.newbyteorder(">" if message.is_bigendian else "<")
    return np.ascontiguousarray(rows).view(stored).reshape(shape).astype(kind, copy=False)
