"""Random image messages with invalid fields."""

from __future__ import annotations

from hypothesis import strategies
from sensor_msgs.msg import Image

from stvae_ros.data.image_messages import _ENCODINGS as ENCODINGS
from stvae_ros.data.image_messages import _YUV

_UINT32 = 2**32 - 1
_sizes = strategies.one_of(strategies.integers(0, 40), strategies.sampled_from([1, 2**16, 2**31, _UINT32]))
_encodings = strategies.one_of(
    strategies.sampled_from(
        [*ENCODINGS, "32FC1", "64FC4", "8SC1", "jpeg", "", "bayer", "BGR8", "nv12", "nv21", "nv24"]
    ),
    strategies.text(max_size=12).filter(lambda text: "\0" not in text),
)


@strategies.composite
def image_messages(draw: strategies.DrawFn) -> Image:
    """Any header, size, encoding and step. Half of the messages have data of the right length."""
    message = Image(height=draw(_sizes), width=draw(_sizes), encoding=draw(_encodings), step=draw(_sizes))
    message.is_bigendian = draw(strategies.integers(0, 255))
    message.header.stamp.sec = draw(strategies.integers(-(2**31), 2**31 - 1))
    message.header.stamp.nanosec = draw(strategies.integers(0, _UINT32))
    message.header.frame_id = draw(strategies.sampled_from(["", "lens", "x" * 300]))
    if draw(strategies.booleans()) and message.encoding in ENCODINGS and message.width <= 40:
        known = ENCODINGS[message.encoding]
        message.step = message.width * known.depth * known.channels + draw(strategies.integers(0, 5))
    if draw(strategies.booleans()) and message.encoding in _YUV and message.width <= 40:
        message.step = message.width + draw(strategies.integers(0, 5))
        message.height, message.width = message.height - message.height % 2, message.width - message.width % 2
    wanted = message.step * message.height * (3 if message.encoding in _YUV else 1)
    size = wanted if wanted <= 100_000 and draw(strategies.booleans()) else draw(strategies.integers(0, 5000))
    message.data.frombytes(bytes([draw(strategies.integers(0, 255))]) * size)
    return message
