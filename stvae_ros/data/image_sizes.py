"""How large an image is, before any memory is taken for its pixels."""

from __future__ import annotations

import struct
from typing import Any

from stvae_ros.data.image_messages import CompressedMessage, ImageError, ImageMessage

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# Frame headers are C0 to CF, without the tables and the extension that have numbers among them.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def check_size(message: ImageMessage | CompressedMessage, most: int, remedy: str = "") -> None:
    """Raise ImageError "too large" for an image of more than ``most`` pixels, "not decodable" if it does not say.

    remedy: what to do if the image is right, to end the sentence with.
    """
    width, height = encoded_size(message.data) if hasattr(message, "format") else (message.width, message.height)
    if width * height > most:
        raise ImageError("too large", f"an image of {width}x{height} has more than {most} pixels{remedy}")


def encoded_size(data: Any) -> tuple[int, int]:
    """Width and height of a JPEG or PNG image in any buffer. Raises ImageError "not decodable" for all else."""
    view = memoryview(data).cast("B")
    try:
        if bytes(view[:8]) == _PNG:
            width, height = struct.unpack_from(">II", view, 16)
            return width, height
        if bytes(view[:2]) == _JPEG:
            return _jpeg_size(view)
    except struct.error:
        pass
    raise ImageError("not decodable", f"{len(view)} bytes are not a JPEG or PNG image")


def _jpeg_size(view: memoryview) -> tuple[int, int]:
    position = 2
    while True:
        mark, kind = struct.unpack_from(">BB", view, position)
        if mark != 0xFF:
            raise struct.error
        if kind == 0xFF:  # padding
            position += 1
        elif kind in _WITHOUT_LENGTH:
            position += 2
        elif kind in _FRAMES:
            height, width = struct.unpack_from(">HH", view, position + 5)
            return width, height
        else:
            position += 2 + struct.unpack_from(">H", view, position + 2)[0]
