"""Random image messages: each gives an array of the declared size, or an ImageError."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from images import image_messages
from sensor_msgs.msg import CompressedImage, Image

from stvae_ros.data.compressed_images import compressed_to_array
from stvae_ros.data.image_messages import ImageError, image_to_array, labels_to_array
from stvae_ros.data.image_sizes import check_size

REASONS = {"zero size", "unknown encoding", "wrong step", "truncated", "wrong type", "too large", "not decodable"}
MOST = 10_000


@settings(max_examples=1000, deadline=None, derandomize=True, database=None)
@given(image_messages())
def test_images(message: Image) -> None:
    for convert in (image_to_array, labels_to_array):
        try:
            check_size(message, MOST)
            array = convert(message)
        except ImageError as error:
            assert error.reason in REASONS and str(error)
        else:
            assert array.shape in ((message.height, message.width), (message.height, message.width, 3))
            assert array.dtype == np.uint8 or convert is labels_to_array
            assert int(array.astype(np.int64).sum()) >= 0, "every pixel can be read"


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xc0", b"\x89PNG\r\n\x1a\n"]), st.binary(max_size=200))
def test_compressed_images(start: bytes, rest: bytes) -> None:
    message = CompressedImage(format="jpeg")
    message.data.frombytes(start + rest)
    try:
        check_size(message, MOST)
        compressed_to_array(message)
    except ImageError as error:
        assert error.reason in REASONS and str(error)
