"""Compressed images of ROS as arrays, by the rules of image_transport: JPEG and PNG in sensor_msgs/CompressedImage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.image_messages import BitDepth, ImageError, demosaiced
from stvae_ros.data.media import Image

try:
    import simplejpeg
except ImportError:  # Then OpenCV decodes JPEG. It tells of damaged images on stderr alone.
    simplejpeg = None

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
"""First bytes of the images that can be decoded."""
_FLAGS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_COLORS = tuple(f"{order}{depth}" for order in ("rgb", "bgr", "rgba", "bgra") for depth in (8, 16))
_OTHERS: dict[tuple[bytes, ...], str] = {
    (b"II*\0", b"MM\0*"): "TIFF",
    (b"GIF8",): "GIF",
    (b"BM",): "BMP",
    (b"RIFF",): "WebP",
    (b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51"): "JPEG 2000",
}
_VIDEO = ("h264", "h.264", "avc", "hevc", "h265", "h.265", "av1", "vp8", "vp9", "theora", "ffmpeg")
_RAW = ("nv12", "nv21", "nv24", "i420", "yuv", "yuyv", "uyvy", "rgb8", "bgr8", "mono8", "bayer")


class CompressedMessage(Protocol):
    """The fields of sensor_msgs/CompressedImage; ``data`` is any buffer."""

    format: str
    data: Any


class _Format(NamedTuple):
    """What ``format`` says: the encoding of the image before it was compressed, and of the compressed pixels.

    An example is "rgb8; jpeg compressed bgr8". Both are empty for the short form "jpeg".
    """

    encoding: str
    stored: str

    @classmethod
    def of(cls, text: str) -> _Format:
        encoding, divided, rest = text.partition(";")
        return cls(encoding.strip(), rest.partition("compressed")[2].strip()) if divided else cls("", "")


def compressed_to_array(
    message: CompressedMessage, depth: BitDepth | None = None, warn: Callable[[str], object] = lambda problem: None
) -> Image:
    """Decodes a JPEG or PNG image. ``format`` decides about the order of colours and Bayer, as in image_transport.

    Args:
        message: the compressed image.
        depth: of its camera, for 16-bit images; None for images that use all 16 bits.
        warn: called with a sentence if the image is damaged and can be used all the same. It needs simplejpeg.

    Returns:
        (H, W) grey or (H, W, 3) BGR uint8.

    Raises:
        ImageError: "not decodable" or "truncated".
    """
    data = bytes(memoryview(message.data).cast("B"))
    if not data.startswith((PNG, JPEG)):
        raise not_an_image(message)
    found = _Format.of(message.format)
    pixels = _decoded(data, message.format, warn)
    if found.encoding in _COLORS and pixels.ndim == 3 and not found.stored.startswith("bgr"):
        pixels = np.ascontiguousarray(pixels[..., ::-1])  # The pixels were compressed in the order R, G, B.
    if found.encoding.startswith("bayer_") and pixels.ndim == 2 and not found.stored:
        pixels = demosaiced(pixels, found.encoding)
    if pixels.dtype == np.uint8 and found.encoding.endswith("16"):  # JPEG keeps the upper 8 bits.
        pixels = pixels.astype(np.uint16) * 257
    if pixels.dtype == np.uint16:
        return (depth or BitDepth()).scale(pixels)
    return pixels.astype(np.uint8, copy=False)


def compressed_format(kind: str, is_color: bool) -> str:
    """The ``format`` that image_transport gives to a compressed bgr8 or mono8 image.

    Args:
        kind: "jpeg" or "png".
        is_color: whether the image is bgr8.
    """
    if is_color:
        return f"bgr8; {kind} compressed bgr8"
    # image_transport names the type of grey pixels for JPEG alone.
    return f"mono8; {kind} compressed {'mono8' if kind == 'jpeg' else ''}"


def not_an_image(message: CompressedMessage) -> ImageError:
    """The error for data that is neither JPEG nor PNG: it names the format and the remedy."""
    data, text = bytes(memoryview(message.data).cast("B")[:12]), message.format
    low = text.lower()
    size = len(message.data)
    if not size:
        what, remedy = "are no image", "look for errors of the driver"
    elif "compresseddepth" in low or low.startswith("32fc1"):
        what, remedy = "are a depth image, not a picture", "subscribe to a colour or grey image of the camera"
    elif any(name in low for name in _VIDEO) or data.startswith((b"\0\0\0\x01", b"\0\0\x01")):
        what = "are a piece of a video, not a whole picture"
        remedy = "decode it with republish of image_transport, and set image_transport to raw"
    elif any(data.startswith(first) for first in _OTHERS):
        name = next(name for first, name in _OTHERS.items() if data.startswith(first))
        what, remedy = f"are a {name} image", "set the publisher to jpeg or png"
    elif any(name in low.partition(";")[0] for name in _RAW) and "compressed" not in low:
        what, remedy = "are not compressed", "publish them as sensor_msgs/Image, and set image_transport to raw"
    else:
        what, remedy = "are not a JPEG or PNG image", "set the publisher to jpeg or png"
    return ImageError("not decodable", f"{size} bytes of format {text!r} {what}: {remedy}")


def _decoded(data: bytes, text: str, warn: Callable[[str], object]) -> NDArray[Any]:
    """Decodes JPEG or PNG, (H, W) grey or (H, W, 3) BGR, uint8 or uint16."""
    is_jpeg, kind = data.startswith(JPEG), "JPEG" if data.startswith(JPEG) else "PNG"
    if is_jpeg and simplejpeg is not None:
        try:
            grey = simplejpeg.decode_jpeg_header(data)[2] == "Gray"
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "GRAY" if grey else "BGR", strict=True)
            return pixels[..., 0] if grey else pixels
        except ValueError as error:  # Damaged, or of a kind that OpenCV may know.
            reason = str(error)
    else:
        reason = ""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    if decoded is not None and decoded.dtype in (np.uint8, np.uint16):
        if reason:
            warn(f"a JPEG image of {len(data)} bytes is damaged and is used as it is: {reason}")
        return decoded
    end = b"\xff\xd9" if is_jpeg else b"IEND"
    if end not in data[-64:]:
        raise ImageError(
            "truncated", f"a {kind} image of {len(data)} bytes, format {text!r}, is cut off: its end is missing"
        )
    raise ImageError("not decodable", f"a {kind} image of {len(data)} bytes, format {text!r}, is damaged")
