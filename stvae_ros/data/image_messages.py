"""sensor_msgs/Image and CompressedImage as arrays, whoever made the message: rclpy, or what reads a bag.

Both go through the same lines, so that a frame is the same array on the robot and in the evaluation of its bag.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.uint8]


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that say what its bytes are; ``data`` is any buffer."""

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
    """Bytes of a value, values of a pixel, and what OpenCV does to make it grey or BGR (None: nothing to do)."""

    size: int
    channels: int
    code: int | None = None


_BAYER = {
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
}
_ENCODINGS: dict[str, _Encoding] = {
    **{f"mono{8 * size}": _Encoding(size, 1) for size in (1, 2)},
    **{f"{8 * size}UC1": _Encoding(size, 1) for size in (1, 2)},
    **{f"bgr{8 * size}": _Encoding(size, 3) for size in (1, 2)},
    **{f"{8 * size}UC3": _Encoding(size, 3) for size in (1, 2)},
    **{f"rgb{8 * size}": _Encoding(size, 3, cv2.COLOR_RGB2BGR) for size in (1, 2)},
    **{f"bgra{8 * size}": _Encoding(size, 4, cv2.COLOR_BGRA2BGR) for size in (1, 2)},
    "8UC4": _Encoding(1, 4, cv2.COLOR_BGRA2BGR),
    **{f"rgba{8 * size}": _Encoding(size, 4, cv2.COLOR_RGBA2BGR) for size in (1, 2)},
    **{name: _Encoding(1, 2, cv2.COLOR_YUV2BGR_UYVY) for name in ("uyvy", "yuv422")},
    **{name: _Encoding(1, 2, cv2.COLOR_YUV2BGR_YUYV) for name in ("yuyv", "yuv422_yuy2")},
    **{f"bayer_{name}{8 * size}": _Encoding(size, 1, code) for name, code in _BAYER.items() for size in (1, 2)},
}
_FLOATS = {"32FC1": 1, "32FC2": 2, "32FC3": 3}
_LABELS = {"mono8": 1, "8UC1": 1, "mono16": 2, "16UC1": 2}


class ImageError(ValueError):
    """An image message that cannot be read; ``reason`` is a short name to count it by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def image_to_array(message: ImageMessage) -> Array:
    """A raw image as (H, W) grey or (H, W, 3) BGR uint8; may share memory with the message.

    Honours ``step`` and ``is_bigendian``; 16 bits are scaled to 8. Raises ImageError (reasons: "zero size",
    "unknown encoding", "wrong step", "truncated").
    """
    if message.height == 0 or message.width == 0:
        raise ImageError("zero size", f"an image of {message.width}x{message.height} has no pixels")
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        known = ", ".join(_ENCODINGS)
        raise ImageError("unknown encoding", f"encoding {message.encoding!r} is not supported; publish one of: {known}")
    pixels = _values(message, np.dtype(f"u{encoding.size}"), encoding.channels)
    if encoding.code is not None:
        try:
            pixels = np.asarray(cv2.cvtColor(pixels, encoding.code))
        except cv2.error as error:
            size = f"{message.width}x{message.height}"
            raise ImageError(
                "unknown encoding", f"an image of {size} cannot be {message.encoding!r}: {error.err}"
            ) from error
    if encoding.size == 2:
        pixels = np.multiply(pixels, 255 / 65535, dtype=np.float32)
    return pixels.astype(np.uint8, copy=False)


def labels_to_array(message: ImageMessage) -> NDArray[np.unsignedinteger]:
    """A label image as (H, W) uint8 or uint16; may share memory with the message.

    Raises ImageError (reasons: "wrong type", "zero size", "wrong step", "truncated").
    """
    size = _LABELS.get(message.encoding)
    if size is None:
        raise ImageError("wrong type", f"labels come as mono8 or mono16 images, not as {message.encoding!r}")
    if message.height == 0 or message.width == 0:
        raise ImageError("zero size", f"labels of {message.width}x{message.height} have no pixels")
    return _values(message, np.dtype(f"u{size}"), 1)


def floats_to_array(message: ImageMessage) -> NDArray[np.float32]:
    """An image of 32FC1, 32FC2 or 32FC3 as (H, W) or (H, W, C) float32; may share memory with the message.

    Raises ImageError (reasons: "wrong type", "zero size", "wrong step", "truncated").
    """
    channels = _FLOATS.get(message.encoding)
    if channels is None:
        raise ImageError("wrong type", f"expected one of {', '.join(_FLOATS)}, not {message.encoding!r}")
    if message.height == 0 or message.width == 0:
        raise ImageError("zero size", f"an image of {message.width}x{message.height} has no pixels")
    return _values(message, np.dtype("f4"), channels)


def compressed_to_array(message: CompressedMessage) -> Array:
    """A JPEG or PNG image as (H, W) grey or (H, W, 3) BGR uint8. Raises ImageError ("not decodable")."""
    data = np.frombuffer(message.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR) if data.size else None
    if image is None:
        raise ImageError("not decodable", f"{data.size} bytes of format {message.format!r} are not a JPEG or PNG image")
    return image.astype(np.uint8, copy=False)


def _values(message: ImageMessage, kind: np.dtype[Any], channels: int) -> NDArray[Any]:
    """The pixels, (H, W) or (H, W, channels) in the byte order of this machine, a view where that can be."""
    rows = _rows(message, kind.itemsize * channels)
    shape = (message.height, message.width) if channels == 1 else (message.height, message.width, channels)
    if kind.itemsize == 1:
        return rows.reshape(shape)
    stored = kind.newbyteorder(">" if message.is_bigendian else "<")
    return np.ascontiguousarray(rows).view(stored).reshape(shape).astype(kind, copy=False)


def _rows(message: ImageMessage, bytes_per_pixel: int) -> Array:
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
    # The padding of the last row may be missing, so that rows of a whole step each cannot be had.
    return np.lib.stride_tricks.as_strided(data, (message.height, used), (message.step, 1), writeable=False)
