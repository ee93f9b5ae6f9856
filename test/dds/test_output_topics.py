"""Units, calibration, confidence, and pictures for viewers, over DDS."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from robot import MS, Robot, small_network
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import (
    array_to_image,
    compressed_to_array,
    image_to_array,
    to_nanoseconds,
    to_time,
)

FLOW, INFO, PREDICTION = "/perception/flow", "/perception/camera_info", "/perception/prediction"
WIDTH, HEIGHT = 160, 120


@pytest.fixture
def robot() -> Iterator[Robot]:
    with Robot() as robot:
        yield robot


def frames(count: int) -> list[np.ndarray]:
    scene = SyntheticScene(4, WIDTH, HEIGHT)
    return [scene.frame(t) for t in range(count)]


def floats(message: Image) -> np.ndarray:
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width, -1)


def test_flow_in_pixels_per_second(robot: Robot) -> None:
    robot.listen(FLOW)
    robot.start_perception(model="stvae-rt-s", precision="fp32", horizon=2)
    images = frames(3)
    robot.feed(images, FLOW)
    robot.wait_for(lambda: robot.camera()[1].get("frame period (ms)") == "40.000")
    per_frame = floats(robot.messages[FLOW][-1])
    assert robot.set_text("flow_units", "minute") == "flow_units = 'minute' is not one of: frame, second"
    assert robot.set_text("flow_units", "second") == ""
    robot.feed(images, FLOW, start=1)  # Back in time: the memory starts again.
    np.testing.assert_allclose(floats(robot.messages[FLOW][-1]), per_frame / (2 * 0.040), rtol=1e-4)
    assert np.abs(per_frame).max() > 0.01


def calibration(**fields: object) -> CameraInfo:
    info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0], **fields)
    info.k[0] = info.p[0] = 95.0
    info.header.frame_id = "of the driver"
    return info


def test_camera_info_has_the_headers_of_the_outputs(robot: Robot, tmp_path: Path) -> None:
    driver = robot.node.create_publisher(CameraInfo, "/lens/camera_info", robot.camera_qos)
    for topic in (FLOW, PREDICTION):
        robot.listen(topic)
    robot.listen(INFO, CameraInfo)
    model = small_network(tmp_path)
    robot.start("perception_node", ("image:=/lens/image_raw",), model=model, use_sim_time=False)
    images = frames(4)
    robot.show(images[0], 40 * MS, "/lens/image_raw")
    robot.wait_for(lambda: len(robot.messages[PREDICTION]) == 1)
    driver.publish(calibration())
    robot.spin(0.5)
    for index, image in enumerate(images[1:3], start=2):
        robot.show(image, index * 40 * MS, "/lens/image_raw")
        robot.wait_for(lambda index=index: len(robot.messages[FLOW]) == len(robot.messages[PREDICTION]) == index)
    robot.wait_for(lambda: len(robot.messages[INFO]) == 4)
    shown = [message.header for topic in (FLOW, PREDICTION) for message in robot.messages[topic][1:]]
    found = robot.messages[INFO]
    assert sorted(to_nanoseconds(info.header.stamp) for info in found) == sorted(to_nanoseconds(h.stamp) for h in shown)
    assert {info.header.frame_id for info in found} == {"lens"}
    for info in found:
        assert (info.width, info.height, info.k[0], list(info.d)) == (WIDTH, HEIGHT, 95.0, [0.1, 0.0, 0.0, 0.0, 0.0])

    other = calibration()
    other.width, other.height = 640, 480
    driver.publish(other)
    robot.spin(0.5)
    robot.show(images[3], 4 * 40 * MS, "/lens/image_raw")
    status = robot.wait_for(lambda: "calibration" in getattr(robot.camera()[0], "message", "") and robot.camera()[0])
    assert status.message.startswith("/lens/camera_info: the calibration is for images of 640x480")
    binned = calibration(binning_x=2, binning_y=2)
    binned.width, binned.height = 2 * WIDTH, 2 * HEIGHT
    driver.publish(binned)
    robot.spin(0.5)
    assert len(found) == 4
    robot.show(images[0], 5 * 40 * MS, "/lens/image_raw")
    robot.wait_for(lambda: len(found) == 6)


def test_camera_info_that_nobody_publishes_or_that_is_remapped(robot: Robot, tmp_path: Path) -> None:
    robot.listen(INFO, CameraInfo)
    remap = ("image:=/lens/image_raw", "camera_info:=/calibration")
    robot.start("perception_node", remap, model=small_network(tmp_path), use_sim_time=False)
    robot.show(frames(1)[0], 40 * MS, "/lens/image_raw")
    message = "nobody publishes /calibration, so ~/camera_info is silent: calibrate the camera, or remap camera_info"
    status = robot.wait_for(lambda: message in getattr(robot.camera()[0], "message", "") and robot.camera()[0])
    assert status.level == status.WARN
    driver = robot.node.create_publisher(CameraInfo, "/calibration", robot.camera_qos)
    robot.wait_for(lambda: driver.get_subscription_count() == 1)
    robot.spin(0.5)
    driver.publish(calibration())
    robot.spin(0.5)
    robot.show(frames(1)[0], 80 * MS, "/lens/image_raw")
    robot.wait_for(lambda: robot.messages[INFO])
    assert robot.messages[INFO][0].header.stamp == to_time(80 * MS)


def test_confidence_tells_good_pixels_from_bad_ones(robot: Robot) -> None:
    robot.listen(PREDICTION)
    robot.listen("/perception/confidence")
    robot.start_perception(model="stvae-rt-s")
    images = frames(8)
    robot.feed(images, PREDICTION)
    robot.wait_for(lambda: len(robot.messages["/perception/confidence"]) == 8)
    error, trust = [], []
    for index in range(2, 7):
        prediction, confidence = robot.messages[PREDICTION][index], robot.messages["/perception/confidence"][index]
        assert confidence.header == prediction.header and confidence.encoding == "32FC1"
        predicted = np.frombuffer(prediction.data, np.uint8).reshape(HEIGHT, WIDTH, 3)
        error.append(np.abs(images[index + 1].astype(np.float32) - predicted).mean(axis=2))
        trust.append(floats(confidence)[..., 0])
    wrong, trusted = np.stack(error), np.stack(trust)
    assert 0 <= trusted.min() < 0.5 < trusted.max() <= 1
    low, high = np.quantile(trusted, (0.1, 0.5))
    assert wrong[trusted <= low].mean() > 3 * wrong[trusted >= high].mean()


PICTURES = {
    "prediction": "bgr8",
    "flow_color": "bgr8",
    "surprise": "bgr8",
    "confidence": "bgr8",
    "labels_color": "bgr8",
    "events_color": "bgr8",
    "motion_mask": "mono8",
}


def test_compressed_pictures_are_those_of_image_transport(robot: Robot) -> None:
    raw = ("prediction", "flow_color", "events_color", "motion_mask")
    for name in raw:
        robot.listen(f"/perception/{name}")
    for name in PICTURES:
        robot.listen(f"/perception/{name}/compressed", CompressedImage)
    robot.start_perception(model="stvae-rt-s", compressed_format="png")
    images = frames(4)
    labels = robot.node.create_publisher(Image, "segmentation", robot.camera_qos)
    robot.wait_for(lambda: labels.get_subscription_count() == 1)
    for index, image in enumerate(images, start=1):
        if index == 3:
            assert robot.set_text("compressed_format", "jpeg") == ""
        robot.show(image, index * 40 * MS)
        robot.wait_for(lambda index=index: len(robot.messages["/perception/prediction/compressed"]) == index)
        labels.publish(array_to_image(np.full((HEIGHT, WIDTH), index, np.uint8), "mono8", to_time(index * 40 * MS), ""))
        robot.spin(0.3)
    for name, encoding in PICTURES.items():
        received = robot.messages[f"/perception/{name}/compressed"]
        assert len(received) == 4 - (name in ("surprise", "labels_color", "events_color", "motion_mask")), name
        png, jpeg = received[0], received[-1]
        assert png.format == f"{encoding}; png compressed {'' if encoding == 'mono8' else encoding}"
        assert jpeg.format == f"{encoding}; jpeg compressed {encoding}"
        assert png.header.frame_id == "lens" and bytes(png.data[1:4]) == b"PNG" and bytes(jpeg.data[:2]) == b"\xff\xd8"
        assert compressed_to_array(png).shape[:2] == compressed_to_array(jpeg).shape[:2] == (HEIGHT, WIDTH)
    for name in raw:
        pictures = {str(m.header.stamp): m for m in robot.messages[f"/perception/{name}/compressed"]}
        for message in robot.messages[f"/perception/{name}"]:
            picture, sent = pictures[str(message.header.stamp)], image_to_array(message)
            if "jpeg" in picture.format:
                jpeg = cv2.imencode(".jpg", sent, (cv2.IMWRITE_JPEG_QUALITY, 85))[1]
                sent = cv2.imdecode(jpeg, cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(compressed_to_array(picture), sent)


def test_pictures_are_made_for_viewers_alone(robot: Robot, tmp_path: Path) -> None:
    """A viewer of the compressed topic alone is served, and the raw topic stays silent."""
    robot.listen("/perception/flow_color/compressed", CompressedImage)
    robot.start_perception(model=small_network(tmp_path))
    robot.feed(frames(2), "/perception/flow_color/compressed")
    robot.listen("/perception/flow_color")
    robot.wait_for(lambda: robot.node.count_publishers("/perception/flow_color") == 1)
    robot.spin(1.0)
    assert not robot.messages["/perception/flow_color"]
    robot.feed(frames(1), "/perception/flow_color", start=3)
