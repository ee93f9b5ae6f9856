"""Images of drivers that are not plain 8-bit pictures, over DDS."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from robot import MS, Robot, small_network
from sensor_msgs.msg import CompressedImage, Image

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import image_to_array, to_time

PREDICTION = "/perception/prediction"
SIZE = (96, 64)


@pytest.fixture
def robot() -> Iterator[Robot]:
    with Robot() as robot:
        yield robot


def frame(t: int) -> np.ndarray:
    return SyntheticScene(4, *SIZE).frame(t)


def test_a_sensor_of_12_bits(robot: Robot, tmp_path: Path) -> None:
    """Its dark images are noticed, and the parameter that helps may change at run time."""
    robot.listen(PREDICTION)
    robot.start_perception(model=small_network(tmp_path))
    images = [cv2.cvtColor(frame(t), cv2.COLOR_BGR2GRAY).astype(np.uint16) << 4 for t in range(36)]
    robot.feed(images[:32], PREDICTION, "mono16")
    robot.wait_for(lambda: "significant_bits" in getattr(robot.camera()[0], "message", ""))
    status = robot.camera()[0]
    assert status is not None and status.level == status.WARN
    assert status.message.startswith("/image: the 16-bit images have used the lower 12 bits alone")
    assert status.message.endswith("set significant_bits to 12 if that is the depth of the sensor")
    dark = image_to_array(robot.messages[PREDICTION][-1])
    value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=12)
    changed = [Parameter(name="significant_bits", value=value)]
    assert robot.call(SetParameters, "/perception/set_parameters", parameters=changed).results[0].successful
    robot.feed(images[32:], PREDICTION, "mono16", start=33)
    bright = image_to_array(robot.messages[PREDICTION][-1])
    assert dark.mean() < 16 and bright.mean() > 10 * dark.mean()
    robot.wait_for(lambda: "significant_bits" not in robot.camera()[0].message)


def test_nv12(robot: Robot, tmp_path: Path) -> None:
    robot.listen(PREDICTION)
    robot.start_perception(model=small_network(tmp_path))
    width, height = SIZE
    planes = cv2.cvtColor(frame(0), cv2.COLOR_BGR2YUV_I420)
    y, u, v = planes[:height], planes[height : height * 5 // 4].ravel(), planes[height * 5 // 4 :].ravel()
    message = Image(height=height, width=width, encoding="nv12", step=width)
    message.header.stamp = to_time(40 * MS)
    message.data.frombytes(y.tobytes() + np.stack([u, v], axis=1).tobytes())
    robot.publish(message)
    robot.wait_for(lambda: robot.messages[PREDICTION])
    (predicted,) = robot.messages[PREDICTION]
    assert (predicted.width, predicted.height, predicted.encoding) == (width, height, "bgr8")


def compressed(data: bytes, format: str, stamp: int) -> CompressedImage:
    message = CompressedImage(format=format)
    message.header.stamp = to_time(stamp * 40 * MS)
    message.data.frombytes(data)
    return message


def test_compressed_images_that_are_no_pictures(robot: Robot, tmp_path: Path) -> None:
    robot.listen(PREDICTION)
    robot.start_perception(model=small_network(tmp_path), image_transport="compressed")
    topic = "image/compressed"

    def says(text: str) -> bool:
        return text in getattr(robot.camera()[0], "message", "")

    robot.publish(compressed(b"\0\0\0\1\x67" + bytes(40), "h264", 1), topic)
    robot.wait_for(lambda: says("/image/compressed: 45 bytes of format 'h264' are a piece of a video"))
    picture = cv2.imencode(".jpg", frame(0))[1].tobytes()
    robot.publish(compressed(picture[: len(picture) // 2], "bgr8; jpeg compressed bgr8", 2), topic)
    robot.wait_for(lambda: says("format 'bgr8; jpeg compressed bgr8', is cut off: its end is missing"))
    robot.wait_for(lambda: robot.count("drops: not decodable") == 1 and robot.count("drops: truncated") == 1)
    for index, format in ((3, "bgr8; jpeg compressed bgr8"), (4, "rgb8; jpeg compressed ")):
        robot.publish(compressed(picture, format, index), topic)
        robot.wait_for(lambda index=index: len(robot.messages[PREDICTION]) == index - 2)
    first, swapped = (image_to_array(message).astype(int) for message in robot.messages[PREDICTION])
    assert np.abs(swapped[..., ::-1] - first).mean() < 0.2 * np.abs(swapped - first).mean()
    pytest.importorskip("simplejpeg", reason="only simplejpeg tells of damaged scans: pip install simplejpeg")
    middle = len(picture) // 2
    robot.publish(compressed(picture[:middle] + bytes(30) + picture[middle + 30 :], "jpeg", 5), topic)
    robot.wait_for(lambda: len(robot.messages[PREDICTION]) == 3)
    robot.wait_for(lambda: says("is damaged and is used as it is"))
    assert says("/image/compressed: a JPEG image of")
