"""Size of an image message from its header, so that a damaged message cannot ask for all memory."""

from __future__ import annotations

import struct
from typing import cast

from stvae_ros.data.compressed_images import JPEG, PNG, CompressedMessage, not_an_image
from stvae_ros.data.image_messages import ImageError, ImageMessage

# JPEG markers C0 to CF start a frame, except for tables (C4, CC) and an extension (C8).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def check_size(message: ImageMessage | CompressedMessage, most: int, remedy: str = "") -> None:
    """Checks the number of pixels before memory is allocated for them.

    Args:
        message: any message with ``height`` and ``width``, or a compressed image.
        most: largest number of pixels that is accepted.
        remedy: end of the error message, which says what to do.

    Raises:
        ImageError: the image has more pixels ("too large"), or a compressed image has no size ("not decodable").
    """
    height, width = (
        encoded_size(cast(CompressedMessage, message))
        if hasattr(message, "format")
        else (message.height, message.width)
    )
    if height * width > most:
        raise ImageError("too large", f"an image of {width}x{height} has more than {most} pixels{remedy}")


def encoded_size(message: CompressedMessage) -> tuple[int, int]:
    """Reads height and width from the header of a JPEG or PNG image.

    Args:
        message: the compressed image.

    Returns:
        Height and width in pixels.

    Raises:
        ImageError: the data is not JPEG or PNG ("not decodable"), or ends before its size ("truncated").
    """
    view = memoryview(message.data).cast("B")
    try:
        if bytes(view[:8]) == PNG:
            width, height = struct.unpack_from(">II", view, 16)
            return height, width
        if bytes(view[:2]) == JPEG:
            return _jpeg_size(view)
    except struct.error:
        problem = f"a compressed image of {len(view)} bytes, format {message.format!r}, is cut off in its header"
        raise ImageError("truncated", problem) from None
    raise not_an_image(message)


def _jpeg_size(view: memoryview) -> tuple[int, int]:
    position = 2
    while True:
        mark, kind = struct.unpack_from(">BB", view, position)
        if mark != 0xFF:
            raise struct.error
        if kind == 0xFF:  # Padding.
            position += 1
        elif kind in _WITHOUT_LENGTH:
            position += 2
        elif kind in _FRAMES:
            height, width = struct.unpack_from(">HH", view, position + 5)
            return height, width
        else:
            position += 2 + struct.unpack_from(">H", view, position + 2)[0]
