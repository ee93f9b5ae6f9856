"""Image messages of ROS as arrays: sensor_msgs/Image and CompressedImage, from rclpy or from a bag.

The node and the evaluation of bags both use this module, so a frame is the same array in both. rosbags-image is no
replacement: it ignores ``step``. `stvae_ros.data.compressed_images` has the compressed images.
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
_YUV = {
    "nv12": (cv2.COLOR_YUV2BGR_NV12, 2),
    "nv21": (cv2.COLOR_YUV2BGR_NV21, 2),
    "nv24": (cv2.COLOR_YUV2BGR_NV12, 1),
}
"""Images of two planes, Y and pairs of U and V: the conversion of OpenCV, and how much smaller the second plane is."""
_FLOATS = {"32FC1": 1, "32FC2": 2, "32FC3": 3}
_LABELS = {"mono8": 1, "8UC1": 1, "mono16": 2, "16UC1": 2}


_ENOUGH = 30
"""Number of images after which bits that were never used are reported."""


class ImageError(ValueError):
    """An image message cannot be converted. ``reason`` is a short name, by which the node counts such messages."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BitDepth:
    """Scales the 16-bit images of one camera to 8 bits, and notices bits that they never use.

    Sensors of 10 or 12 bits often leave the top bits of 16-bit images 0. Unscaled, such images are nearly black.

    Args:
        significant: number of bits that the images use.
    """

    def __init__(self, significant: int = 16) -> None:
        self.significant = significant
        self._images = self._largest = 0

    def scale(self, pixels: NDArray[np.uint16]) -> Image:
        """Scales uint16 pixels, of any shape, to uint8. Larger values than the significant bits allow become 255."""
        self._images += 1
        self._largest = max(self._largest, int(pixels.max()))
        return cv2.convertScaleAbs(pixels, alpha=255 / (2**self.significant - 1)).astype(np.uint8, copy=False)

    @property
    def problem(self) -> str | None:
        """The reason why the images come out too dark or too bright, with the remedy; None if they do not."""
        used = self._largest.bit_length()
        fitting = next(bits for bits in (8, 10, 12, 14, 16) if used <= bits)
        if used > self.significant:
            return (
                f"16-bit values up to {self._largest} do not fit into {self.significant} bits and are cut off: set "
                f"significant_bits to {fitting}"
            )
        if self._images >= _ENOUGH and used > 0 and fitting <= self.significant - 2:
            return (
                f"the 16-bit images have used the lower {used} bits alone, so they are dark for the network: set "
                f"significant_bits to {fitting} if that is the depth of the sensor"
            )
        return None


def image_to_array(message: ImageMessage, depth: BitDepth | None = None) -> Image:
    """Converts a raw image; honours ``step`` and ``is_bigendian``, and scales 16 bits to 8.

    Args:
        message: the image.
        depth: of its camera; None for images that use all 16 bits.

    Returns:
        (H, W) grey or (H, W, 3) BGR uint8; may share memory with the message.

    Raises:
        ImageError: "zero size", "unknown encoding", "wrong step" or "truncated".
    """
    _check_not_empty(message)
    if message.encoding in _YUV:
        return _semi_planar(message)
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        known = ", ".join([*_ENCODINGS, *_YUV])
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
        return (depth or BitDepth()).scale(pixels.astype(np.uint16, copy=False))
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


def demosaiced(pixels: NDArray[Any], encoding: str) -> NDArray[Any]:
    """Converts a Bayer image (H, W) of any depth to BGR (H, W, 3); ``encoding`` is, for example, bayer_rggb8."""
    return np.asarray(cv2.cvtColor(pixels, _BAYER[encoding.removeprefix("bayer_")[:4]]))


def _check_not_empty(message: ImageMessage) -> None:
    if message.height == 0 or message.width == 0:
        raise ImageError("zero size", f"an image of {message.width}x{message.height} has no pixels")


def _semi_planar(message: ImageMessage) -> Image:
    """Converts NV12, NV21 or NV24: a plane of Y, then a plane of pairs of U and V. ``step`` is that of the first."""
    code, shrink = _YUV[message.encoding]
    height, width, step = message.height, message.width, message.step
    if height % shrink or width % shrink:
        size = f"{width}x{height}"
        raise ImageError("unknown encoding", f"an image of {size} cannot be {message.encoding!r}: both must be even")
    if step < width:
        raise ImageError(
            "wrong step", f"step {step} is too small: {width} pixels of {message.encoding} take {width} bytes"
        )
    pairs = step * 2 // shrink
    needed = step * height + pairs * (height // shrink - 1) + 2 * width // shrink
    data = np.frombuffer(message.data, np.uint8)
    if data.size < needed:
        raise ImageError("truncated", f"the image has {data.size} bytes of data and needs {needed}")
    y = _rows(data, height, width, step)
    uv = _rows(data[step * height :], height // shrink, 2 * width // shrink, pairs)
    uv = uv.reshape(height // shrink, width // shrink, 2)
    if shrink == 2:
        return np.asarray(cv2.cvtColorTwoPlane(np.ascontiguousarray(y), uv, code), np.uint8)
    # OpenCV has no conversion of NV24. In an image of twice the size, its second plane is that of NV12.
    twice = np.asarray(cv2.cvtColorTwoPlane(y.repeat(2, axis=0).repeat(2, axis=1), uv, code), np.uint8)
    return np.ascontiguousarray(twice[::2, ::2])


def _rows(data: NDArray[np.uint8], count: int, used: int, step: int) -> NDArray[np.uint8]:
    """A view of ``count`` rows of ``used`` bytes, ``step`` bytes apart. The padding of the last row may be missing."""
    return np.lib.stride_tricks.as_strided(data, (count, used), (step, 1), writeable=False)


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
    rows = _rows(data, message.height, used, message.step)
    shape = (message.height, message.width) if channels == 1 else (message.height, message.width, channels)
    if kind.itemsize == 1:
        return rows.reshape(shape)
    stored = kind.newbyteorder(">" if message.is_bigendian else "<")
    return np.ascontiguousarray(rows).view(stored).reshape(shape).astype(kind, copy=False)
