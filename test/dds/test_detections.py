"""Detections in the perception node, over DDS."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from robot import CAMERA_QOS, MS, Robot, small_network
from sensor_msgs.msg import Image

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.boxes import boxes_of, overlap
from stvae_ros.nodes.conversion import image_to_array, to_nanoseconds, to_time
from stvae_ros.nodes.perception.camera_detections import Detection2DArray

SCENE = SyntheticScene(5, 320, 240, objects=1)
FLOW, DETECTIONS, DRAWN = "/perception/flow", "/perception/detections", "/perception/detections_color"
needs_vision_msgs = pytest.mark.skipif(Detection2DArray is None, reason="needs vision_msgs, which is not on PyPI")


@pytest.fixture
def robot() -> Iterator[Robot]:
    with Robot() as robot:
        robot.listen(FLOW)
        yield robot


def at(t: int) -> int:
    """Stamp of frame t in nanoseconds."""
    return (t + 1) * 40 * MS


def feed(robot: Robot, start: int, end: int) -> None:
    robot.feed([SCENE.frame(t) for t in range(start, end)], FLOW, start=start + 1)


def truth(t: int) -> np.ndarray:
    """The box of the object in frame t."""
    return boxes_of((SCENE.truth(t).labels > 0).astype(np.uint8))[1]


def detect(robot: Robot, t: int, *boxes: np.ndarray, names: str = "abcdefgh", stamp: int | None = None) -> None:
    """Publish boxes of frame t with the names as ids, and wait until the node has them."""
    vision_msgs = pytest.importorskip("vision_msgs.msg")
    message = Detection2DArray()
    message.header.stamp = to_time(at(t) if stamp is None else stamp)
    for box, name in zip(boxes, names, strict=False):
        detection = vision_msgs.Detection2D(id=name, results=[vision_msgs.ObjectHypothesisWithPose()])
        detection.results[0].hypothesis.class_id, detection.results[0].hypothesis.score = f"class {name}", 0.75
        detection.bbox.center.position.x, detection.bbox.center.position.y = (box[:2] + box[2:]) / 2
        detection.bbox.size_x, detection.bbox.size_y = box[2:] - box[:2]
        message.detections.append(detection)
    received = robot.count("detections received")
    robot.publish(message, "detections")
    robot.wait_for(lambda: robot.count("detections received") > received)


def found(robot: Robot, t: int) -> object:
    """The message of frame t."""

    def search() -> object:
        return next((m for m in robot.messages[DETECTIONS] if to_nanoseconds(m.header.stamp) == at(t)), None)

    return robot.wait_for(search)


def edges(detection: object) -> np.ndarray:
    center = np.array([detection.bbox.center.position.x, detection.bbox.center.position.y])
    half = np.array([detection.bbox.size_x, detection.bbox.size_y]) / 2
    return np.concatenate([center - half, center + half])


@needs_vision_msgs
def test_late_detections_come_to_the_present_frame(robot: Robot) -> None:
    robot.listen(DETECTIONS, Detection2DArray)
    robot.listen(DRAWN)
    robot.start_perception()
    detect(robot, 0, truth(0))
    feed(robot, 0, 12)
    detect(robot, 4, truth(4), np.array([900.0, 10.0, 950.0, 60.0]))
    feed(robot, 12, 15)
    message = found(robot, 14)
    assert message.header.frame_id == "lens"
    [detection] = message.detections
    assert (detection.id, detection.header) == ("a", message.header)
    [result] = detection.results
    assert (result.hypothesis.class_id, result.hypothesis.score) == ("class a", 0.75)
    # The object rotates and becomes smaller: no upright box of its first size fits.
    assert overlap(edges(detection), truth(14), 320, 240) > 0.7 > 0.5 > overlap(truth(4), truth(14), 320, 240)
    drawn = robot.wait_for(lambda: next((m for m in robot.messages[DRAWN] if m.header == message.header), None))
    changed = (image_to_array(drawn) != SCENE.frame(14)).any(axis=2)
    left, top, right, bottom = edges(detection).round().astype(int)
    assert changed[top, left:right].all() and not changed[bottom + 3 :].any() and not changed[:, : left - 3].any()
    robot.wait_for(lambda: robot.count("boxes dropped: left the image") == 1)
    assert float(robot.camera()[1]["detection age (s)"]) == pytest.approx(0.4)


@needs_vision_msgs
def test_no_detections_are_an_answer(robot: Robot, tmp_path: Path) -> None:
    robot.listen(DETECTIONS, Detection2DArray)
    robot.start_perception(model=small_network(tmp_path))
    feed(robot, 0, 2)
    assert not robot.messages[DETECTIONS], "nobody has detected anything yet"
    detect(robot, 1)
    feed(robot, 2, 3)
    assert found(robot, 2).detections == []


@needs_vision_msgs
def test_detections_that_cannot_be_used_are_counted_by_reason(robot: Robot, tmp_path: Path) -> None:
    robot.start_perception(label_history=0.2, model=small_network(tmp_path))
    detect(robot, 0, truth(0))
    feed(robot, 0, 10)
    for t in (9, 2, 90, 8):
        detect(robot, t, truth(9))
    detect(robot, 9, *[np.full(4, np.nan)] * 2, np.array([50.0, 50.0, 40.0, 60.0]))
    feed(robot, 10, 11)
    for reason in ("too late", "from the future", "overtaken"):
        robot.wait_for(lambda reason=reason: robot.count(f"detections refused: {reason}") == 1)
    assert robot.count("detections received") == 6 and robot.count("detections refused") == 3
    assert robot.count("boxes dropped: not a box") == 3
    assert robot.camera()[0].level == b"\1" and robot.camera()[0].message.startswith("/detections: ")


@needs_vision_msgs
def test_with_a_horizon_detections_lead_too(robot: Robot) -> None:
    robot.listen(DETECTIONS, Detection2DArray)
    robot.start_perception(horizon=2)
    feed(robot, 0, 6)
    detect(robot, 5, truth(5))
    feed(robot, 6, 7)
    [ahead] = found(robot, 8).detections
    assert overlap(edges(ahead), truth(8), 320, 240) > overlap(truth(6), truth(8), 320, 240) + 0.05


@needs_vision_msgs
def test_a_rotated_box_keeps_its_angle(robot: Robot, tmp_path: Path) -> None:
    vision_msgs = pytest.importorskip("vision_msgs.msg")
    robot.listen(DETECTIONS, Detection2DArray)
    robot.start_perception(model=small_network(tmp_path))
    image = SCENE.frame(0)
    robot.feed([image] * 3, FLOW)
    message = Detection2DArray()
    message.header.stamp = to_time(3 * 40 * MS)
    detection = vision_msgs.Detection2D()
    detection.bbox.center.theta, detection.bbox.size_x, detection.bbox.size_y = 0.5, 60.0, 20.0
    detection.bbox.center.position.x = detection.bbox.center.position.y = 100.0
    message.detections.append(detection)
    robot.publish(message, "detections")
    robot.spin(0.3)
    robot.feed([image], FLOW, start=4)
    [carried] = robot.wait_for(lambda: robot.messages[DETECTIONS])[-1].detections
    assert carried.bbox.center.theta == 0.5
    assert (carried.bbox.size_x, carried.bbox.size_y) == pytest.approx((60, 20), rel=0.3)


def stops_warning(robot: Robot) -> Callable[[], bool]:
    return lambda: robot.camera()[0] is not None and "/detections" not in robot.camera()[0].message


def test_a_topic_that_cannot_be_read_is_named(robot: Robot, tmp_path: Path) -> None:
    robot.start_perception(model=small_network(tmp_path))
    feed(robot, 0, 2)
    robot.wait_for(stops_warning(robot))
    detector = robot.node.create_publisher(Image, "/detections", CAMERA_QOS)
    says = "cannot be read without vision_msgs: install ros-$ROS_DISTRO-vision-msgs and start the node again"
    if Detection2DArray is not None:
        says = "publish vision_msgs/msg/Detection2DArray, or remap the topic"
    robot.wait_for(lambda: robot.camera()[0].message.startswith("/detections ") and says in robot.camera()[0].message)
    robot.node.destroy_publisher(detector)
    robot.wait_for(stops_warning(robot))


@needs_vision_msgs
def test_a_lazy_camera_carries_detections_while_nobody_looks(robot: Robot, tmp_path: Path) -> None:
    robot.node.destroy_subscription(robot._listening.pop(FLOW))
    robot.start_perception(model=small_network(tmp_path), lazy=True)
    robot.wait_for(lambda: robot.camera()[0] is not None and robot.camera()[0].message.startswith("asleep"))
    detect(robot, 0, truth(0))
    for t in range(3):
        robot.show(SCENE.frame(t), at(t))
        robot.wait_for(lambda t=t: robot.count("frames processed") == t + 1)
    robot.spin(3.0)  # Longer than the time after which a camera without detections sleeps.
    robot.listen(DETECTIONS, Detection2DArray)
    robot.spin(1.0)
    robot.show(SCENE.frame(3), at(3))
    assert len(found(robot, 3).detections) == 1
    assert robot.count("detections refused") == 0 and robot.count("resets: asleep") <= 1
