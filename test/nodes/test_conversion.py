"""Image messages to arrays and back."""

import sys

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from stvae_ros.nodes.conversion import (
    ImageError,
    array_to_image,
    compressed_to_array,
    image_to_array,
    labels_to_array,
    to_nanoseconds,
    to_time,
)

COLOR = cv2.blur(np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8), (5, 5))
GREY = cv2.cvtColor(COLOR, cv2.COLOR_BGR2GRAY)


def message(array: np.ndarray, encoding: str) -> Image:
    return array_to_image(array, encoding, to_time(5), "lens")


@pytest.mark.parametrize(
    ("encoding", "stored", "expected"),
    [
        ("mono8", GREY, GREY),
        ("8UC1", GREY, GREY),
        ("bgr8", COLOR, COLOR),
        ("8UC3", COLOR, COLOR),
        ("rgb8", COLOR[..., ::-1], COLOR),
        ("bgra8", np.dstack([COLOR, GREY]), COLOR),
        ("rgba8", np.dstack([COLOR[..., ::-1], GREY]), COLOR),
        ("mono16", GREY.astype(np.uint16) * 257, GREY),
        ("16UC1", GREY.astype(np.uint16) * 257, GREY),
        ("bgr16", COLOR.astype(np.uint16) * 257, COLOR),
        ("rgb16", COLOR[..., ::-1].astype(np.uint16) * 257, COLOR),
    ],
)
def test_encodings(encoding: str, stored: np.ndarray, expected: np.ndarray) -> None:
    array = image_to_array(message(stored, encoding))
    assert array.dtype == np.uint8
    np.testing.assert_allclose(array.astype(int), expected, atol=1)


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"])
def test_bayer(encoding: str) -> None:
    pattern = encoding[6:10]
    mosaic = np.zeros((16, 20), np.uint8)
    for index, letter in enumerate(pattern):
        mosaic[index // 2 :: 2, index % 2 :: 2] = {"r": 200, "g": 120, "b": 40}[letter]
    array = image_to_array(message(mosaic, encoding))
    np.testing.assert_allclose(array[4:-4, 4:-4].reshape(-1, 3).mean(axis=0), [40, 120, 200], atol=2)


def test_yuv() -> None:
    pair = np.array([128, 90, 128, 90], np.uint8)  # U Y V Y without colour
    array = image_to_array(message(np.tile(pair, (4, 3)).reshape(4, 6, 2), "uyvy"))
    assert array.shape == (4, 6, 3) and int(np.ptp(array)) <= 2


def test_step_and_byte_order_are_honoured() -> None:
    padded = message(np.pad(COLOR, ((0, 0), (0, 4), (0, 0))), "bgr8")
    padded.width = 20
    np.testing.assert_array_equal(image_to_array(padded), COLOR)
    last_row_short = message(np.pad(COLOR, ((0, 0), (0, 4), (0, 0))), "bgr8")
    last_row_short.width = 20
    del last_row_short.data[-12:]
    np.testing.assert_array_equal(image_to_array(last_row_short), COLOR)
    swapped = message((GREY.astype(np.uint16) * 256).byteswap(), "mono16")
    swapped.is_bigendian = int(sys.byteorder == "little")
    np.testing.assert_allclose(image_to_array(swapped).astype(int), GREY, atol=1)


def test_views_are_not_copies() -> None:
    source = message(COLOR, "bgr8")
    assert np.shares_memory(image_to_array(source), np.frombuffer(source.data, np.uint8))


def test_broken_images_have_a_reason() -> None:
    truncated = message(COLOR, "bgr8")
    del truncated.data[-1:]
    cases = {
        "zero size": Image(encoding="bgr8"),
        "unknown encoding": Image(width=2, height=2, step=8, encoding="cmyk8"),
        "wrong step": Image(width=2, height=2, step=5, encoding="bgr8"),
        "truncated": truncated,
    }
    for reason, broken in cases.items():
        with pytest.raises(ImageError) as error:
            image_to_array(broken)
        assert error.value.reason == reason


@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "mono16", "16UC1"])
def test_labels_keep_their_values(encoding: str) -> None:
    kind = np.uint8 if "8" in encoding else np.uint16
    labels = np.arange(48).reshape(6, 8).astype(kind) * (5 if kind is np.uint8 else 1365)
    found = labels_to_array(message(labels, encoding))
    assert found.dtype == kind
    np.testing.assert_array_equal(found, labels)
    swapped = message(labels.byteswap(), encoding)
    swapped.is_bigendian = int(sys.byteorder == "little")
    np.testing.assert_array_equal(labels_to_array(swapped), labels)


def test_labels_of_a_wrong_type_have_a_reason() -> None:
    cases = {
        "wrong type": message(COLOR, "bgr8"),
        "zero size": Image(encoding="mono8"),
        "truncated": message(GREY, "mono8"),
    }
    del cases["truncated"].data[-1:]
    for reason, broken in cases.items():
        with pytest.raises(ImageError) as error:
            labels_to_array(broken)
        assert error.value.reason == reason


def test_compressed() -> None:
    png = CompressedImage(format="png")
    png.data.frombytes(cv2.imencode(".png", COLOR)[1].tobytes())
    np.testing.assert_array_equal(compressed_to_array(png), COLOR)
    grey = CompressedImage(format="png")
    grey.data.frombytes(cv2.imencode(".png", GREY)[1].tobytes())
    np.testing.assert_array_equal(compressed_to_array(grey), GREY)
    for data in (b"", b"not an image"):
        broken = CompressedImage(format="jpeg")
        broken.data.frombytes(data)
        with pytest.raises(ImageError, match="jpeg") as error:
            compressed_to_array(broken)
        assert error.value.reason == "not decodable"


def test_float_images_round_trip() -> None:
    flow = np.random.default_rng(1).normal(size=(3, 4, 2)).astype(np.float32)
    sent = message(flow, "32FC2")
    assert (sent.step, sent.height, sent.width, sent.header.frame_id) == (32, 3, 4, "lens")
    assert to_nanoseconds(sent.header.stamp) == 5
    np.testing.assert_array_equal(np.frombuffer(sent.data, np.float32).reshape(3, 4, 2), flow)
