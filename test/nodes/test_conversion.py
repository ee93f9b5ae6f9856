"""Image messages to arrays and back."""

import sys

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from stvae_ros.data import image_messages
from stvae_ros.data.image_messages import BitDepth
from stvae_ros.data.image_sizes import check_size
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


BRIDGED = [name for name in image_messages._ENCODINGS if not name[0].isdigit() and name not in ("uyvy", "yuyv")]


@pytest.mark.parametrize("encoding", BRIDGED)
@pytest.mark.parametrize("by_us", [True, False])
def test_cv_bridge_agrees(encoding: str, by_us: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each encoding that cv_bridge knows gives the same image, also where the node leaves the encoding to cv_bridge."""
    bridge = pytest.importorskip("cv_bridge", reason="cv_bridge comes with ROS 2, not from PyPI").CvBridge()
    known = image_messages._ENCODINGS[encoding]
    random = np.random.default_rng(0).integers(0, 256, (12, 16, known.channels), np.uint8)
    smooth = cv2.blur(random, (3, 3)).reshape(random.shape)
    sent = message(smooth if known.depth == 1 else smooth.astype(np.uint16) * 257, encoding)
    expected = bridge.imgmsg_to_cv2(sent, "bgr8")
    if not by_us:
        monkeypatch.delitem(image_messages._ENCODINGS, encoding)
    array = image_to_array(sent)
    assert array.dtype == np.uint8
    if array.ndim == 2:
        array = cv2.cvtColor(array, cv2.COLOR_GRAY2BGR)
    np.testing.assert_allclose(array.astype(int), expected, atol=1)


def test_an_encoding_that_nobody_knows_is_refused_with_the_list() -> None:
    with pytest.raises(ImageError, match="encoding 'cmyk8' is not supported; publish one of: ") as error:
        image_to_array(Image(width=2, height=2, step=8, encoding="cmyk8"))
    assert error.value.reason == "unknown encoding"


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


def semi_planar(encoding: str, step: int) -> tuple[Image, np.ndarray]:
    """An image of a smooth picture, with padded rows, and the picture: Y rises to the right, U and V are even."""
    y = np.tile(np.arange(40, 200, 8, np.uint8), (16, 1))
    shrink = 1 if encoding == "nv24" else 2
    pair = (90, 170) if encoding == "nv21" else (170, 90)  # U before V, but in NV21.
    uv = np.full((16 // shrink, 20 // shrink, 2), pair, np.uint8).reshape(16 // shrink, -1)
    rows = [np.pad(y, ((0, 0), (0, step - 20))), np.pad(uv, ((0, 0), (0, step * 2 // shrink - uv.shape[1])))]
    found = Image(height=16, width=20, encoding=encoding, step=step)
    found.data.frombytes(b"".join(part.tobytes() for part in rows))
    expected = cv2.cvtColor(np.dstack([y, np.full_like(y, 90), np.full_like(y, 170)]), cv2.COLOR_YCrCb2BGR)
    return found, expected


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
@pytest.mark.parametrize("step", [20, 32])
def test_semi_planar_yuv(encoding: str, step: int) -> None:
    sent, full_range = semi_planar(encoding, step)
    array = image_to_array(sent)
    assert array.shape == (16, 20, 3) and array.dtype == np.uint8
    # V of 90 is little red, U of 170 is much blue. OpenCV takes Y from 16 to 235, so the contrast is larger.
    blue, green, red = array.astype(int).transpose(2, 0, 1)
    assert (blue > green).all() and (green > red).all()
    np.testing.assert_allclose(array[4].astype(int), full_range[4], atol=45)
    uyvy = np.empty((16, 20, 2), np.uint8)
    uyvy[..., 1] = np.frombuffer(sent.data, np.uint8)[: 16 * step].reshape(16, step)[:, :20]
    uyvy[:, ::2, 0], uyvy[:, 1::2, 0] = 170, 90
    np.testing.assert_allclose(array.astype(int), image_to_array(message(uyvy, "uyvy")), atol=1)
    cut = Image(height=16, width=20, encoding=encoding, step=step)
    cut.data.frombytes(bytes(sent.data)[:-step])
    for reason, broken in {"truncated": cut, "wrong step": Image(height=2, width=4, step=3, encoding=encoding)}.items():
        with pytest.raises(ImageError) as error:
            image_to_array(broken)
        assert error.value.reason == reason


@pytest.mark.parametrize("encoding", ["mono16", "bayer_rggb16", "rgb16"])
def test_significant_bits(encoding: str) -> None:
    """Images of 12 bits are nearly black unless the number of bits is given, and that is said."""
    values = np.linspace(0, 4095, 16 * 20).astype(np.uint16).reshape(16, 20)
    stored = np.dstack([values] * 3) if encoding == "rgb16" else values
    dark, right, little = BitDepth(), BitDepth(12), BitDepth(10)
    for _ in range(29):
        image_to_array(message(stored, encoding), dark)
    assert dark.problem is None
    assert image_to_array(message(stored, encoding), dark).max() <= 16
    assert dark.problem is not None and dark.problem.endswith(
        "set significant_bits to 12 if that is the depth of the sensor"
    )
    bright = image_to_array(message(stored, encoding), right)
    assert bright.max() > 230 and right.problem is None
    if encoding != "bayer_rggb16":
        grey = bright if bright.ndim == 2 else bright[..., 0]
        np.testing.assert_allclose(grey, values * (255 / 4095), atol=0.51)
    image_to_array(message(stored, encoding), little)
    assert "do not fit into 10 bits and are cut off: set significant_bits to 12" in str(little.problem)


def compressed(array: np.ndarray, suffix: str, format: str) -> CompressedImage:
    found = CompressedImage(format=format)
    found.data.frombytes(cv2.imencode(suffix, array)[1].tobytes())
    return found


def test_compressed() -> None:
    np.testing.assert_array_equal(compressed_to_array(compressed(COLOR, ".png", "png")), COLOR)
    np.testing.assert_array_equal(compressed_to_array(compressed(GREY, ".png", "png")), GREY)


MOSAIC = np.zeros((16, 20), np.uint8)
MOSAIC[::2, ::2], MOSAIC[1::2, ::2], MOSAIC[::2, 1::2], MOSAIC[1::2, 1::2] = 200, 120, 120, 40


@pytest.mark.parametrize(
    ("stored", "format", "expected"),
    [
        (COLOR, "rgb8; png compressed bgr8", COLOR),
        (COLOR, "bgr8; png compressed bgr8", COLOR),
        (COLOR, "png", COLOR),
        (COLOR[..., ::-1], "rgb8; png compressed ", COLOR),
        (COLOR[..., ::-1], "bgr8; png compressed rgb8", COLOR),
        (GREY, "mono8; png compressed ", GREY),
        (GREY, "bayer_rggb8; png compressed mono8", GREY),
        (COLOR, "yuv422; png compressed bgr8", COLOR),
        (COLOR.astype(np.uint16) * 257, "rgb16; png compressed bgr16", COLOR),
        (GREY.astype(np.uint16) * 257, "mono16; png compressed ", GREY),
    ],
)
def test_format_of_image_transport(stored: np.ndarray, format: str, expected: np.ndarray) -> None:
    """The format decides about the order of colours, as in compressed_image_transport's subscriber."""
    array = compressed_to_array(compressed(stored, ".png", format))
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("scale", [1, 257])
def test_compressed_bayer(scale: int) -> None:
    stored = MOSAIC if scale == 1 else MOSAIC.astype(np.uint16) * scale
    format = f"bayer_rggb{8 if scale == 1 else 16}; png compressed "
    array = compressed_to_array(compressed(stored, ".png", format))
    np.testing.assert_allclose(array[4:-4, 4:-4].reshape(-1, 3).mean(axis=0), [40, 120, 200], atol=2)


def test_compressed_images_of_12_bits() -> None:
    stored = np.linspace(0, 4095, 16 * 20).astype(np.uint16).reshape(16, 20)
    for suffix, sent in ((".png", stored), (".jpg", (stored / 257).astype(np.uint8))):
        format = f"mono16; {suffix[1:]} compressed "
        array = compressed_to_array(compressed(sent, suffix, format), BitDepth(12))
        assert array.shape == (16, 20) and array.max() > 235, suffix


def test_orientation_of_a_camera_is_left_to_its_calibration() -> None:
    """Like image_transport: an EXIF header does not turn the picture."""
    turned = compressed(COLOR, ".jpg", "jpeg")
    exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    data = bytes(turned.data)
    turned.data = type(turned.data)("B", data[:2] + exif + data[2:])
    assert compressed_to_array(turned).shape == COLOR.shape


@pytest.mark.parametrize(
    ("data", "format", "says"),
    [
        (b"", "jpeg", "0 bytes of format 'jpeg' are no image: look for errors of the driver"),
        (
            b"not an image",
            "jpeg",
            "are not a JPEG or PNG image: set the publisher to jpeg or png",
        ),
        (
            bytes(12),
            "16UC1; compressedDepth png",
            "are a depth image, not a picture: subscribe to a colour",
        ),
        (
            b"\0\0\0\x01\x67",
            "h264",
            "a piece of a video, not a whole picture: decode it with republish",
        ),
        (b"\0\0\0\x01\x67", "", "are a piece of a video"),
        (bytes(24), "nv12", "are not compressed: publish them as sensor_msgs/Image, and set image_transport to raw"),
        (b"II*\0    ", "bgr8; tiff compressed bgr8", "are a TIFF image: set the publisher to jpeg or png"),
        (b"RIFF....WEBP", "webp", "are a WebP image"),
    ],
)
def test_other_formats_are_named(data: bytes, format: str, says: str) -> None:
    other = CompressedImage(format=format)
    other.data.frombytes(data)
    for convert in (compressed_to_array, lambda message: check_size(message, 10**6)):
        with pytest.raises(ImageError) as error:
            convert(other)
        assert says in str(error.value) and repr(format) in str(error.value) and error.value.reason == "not decodable"


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_cut_off_and_damaged_images(suffix: str) -> None:
    whole = bytes(compressed(COLOR, suffix, "").data)
    for size in (len(whole) - 14, len(whole) // 2):
        cut = CompressedImage(format="bgr8; compressed bgr8")
        cut.data.frombytes(whole[:size])
        with pytest.raises(ImageError, match=rf"of {size} bytes, format 'bgr8; compressed bgr8', is cut off") as error:
            compressed_to_array(cut)
        assert error.value.reason == "truncated"
    damaged, said = CompressedImage(format="jpeg"), []
    middle = len(whole) // 2 + 20
    damaged.data.frombytes(whole[:middle] + bytes(30) + whole[middle + 30 :])
    if suffix == ".png":
        with pytest.raises(ImageError, match="is damaged"):
            compressed_to_array(damaged)
    else:
        pytest.importorskip("simplejpeg", reason="only simplejpeg tells of damaged scans: pip install simplejpeg")
        assert compressed_to_array(damaged, warn=said.append).shape == COLOR.shape
        assert len(said) == 1 and "is damaged and is used as it is: Corrupt JPEG data" in said[0]


def test_float_images_round_trip() -> None:
    flow = np.random.default_rng(1).normal(size=(3, 4, 2)).astype(np.float32)
    sent = message(flow, "32FC2")
    assert (sent.step, sent.height, sent.width, sent.header.frame_id) == (32, 3, 4, "lens")
    assert to_nanoseconds(sent.header.stamp) == 5
    np.testing.assert_array_equal(np.frombuffer(sent.data, np.float32).reshape(3, 4, 2), flow)
