"""A lazy node rests while nobody subscribes to its outputs, and loses no labels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from robot import MS, Robot, small_network
from sensor_msgs.msg import Image

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import array_to_image, image_to_array, to_nanoseconds, to_time

FLOW, LABELS = "/perception/flow", "/perception/labels"
SLEEPS = "asleep: nobody subscribes to its outputs (parameter lazy)"


@pytest.fixture
def robot() -> Iterator[Robot]:
    with Robot() as robot:
        yield robot


def frames(count: int) -> list[np.ndarray]:
    scene = SyntheticScene(4, 96, 64)
    return [scene.frame(t) for t in range(count)]


def is_asleep(robot: Robot) -> bool:
    status = robot.camera()[0]
    return status is not None and status.message == SLEEPS and status.level == status.OK


def stop_listening(robot: Robot, topic: str) -> None:
    robot.node.destroy_subscription(robot._listening.pop(topic))


def test_the_input_is_unsubscribed_while_nobody_looks(robot: Robot, tmp_path: Path) -> None:
    camera = robot.node.create_publisher(Image, "image", robot.camera_qos)
    images = frames(8)
    robot.start_perception(model=small_network(tmp_path), lazy=True)
    robot.wait_for(lambda: camera.get_subscription_count() == 0 and is_asleep(robot))
    assert robot.count("frames received") == 0

    robot.listen(FLOW)
    robot.wait_for(lambda: camera.get_subscription_count() == 1)
    robot.feed(images[:3], FLOW)
    robot.wait_for(lambda: robot.count("frames processed") == 3 and robot.camera()[0].message == "running")

    stop_listening(robot, FLOW)
    robot.wait_for(lambda: camera.get_subscription_count() == 0 and is_asleep(robot))
    for index, image in enumerate(images[3:6], start=4):
        camera.publish(message(image, index))
    robot.spin(1.2)
    assert robot.count("frames received") == 3

    robot.listen(FLOW)
    robot.listen("/perception/surprise")
    robot.wait_for(lambda: camera.get_subscription_count() == 1)
    robot.spin(1.0)
    before = len(robot.messages[FLOW])
    for index, image in enumerate(images[6:], start=7):
        camera.publish(message(image, index))
        robot.wait_for(lambda index=index: len(robot.messages[FLOW]) == before + index - 6)
    robot.wait_for(lambda: robot.count("resets: asleep") == 1 and robot.count("frames processed") == 5)
    robot.wait_for(lambda: robot.messages["/perception/surprise"])
    (first,) = robot.messages["/perception/surprise"]
    assert to_nanoseconds(first.header.stamp) == 8 * 40 * MS, "none for the first frame, as after a reset"
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
        assert robot.call(ChangeState, "/perception/change_state", transition=Transition(id=transition)).success
    robot.wait_for(lambda: camera.get_subscription_count() == 1)


def message(image: np.ndarray, index: int, encoding: str = "bgr8") -> Image:
    return array_to_image(image, encoding, to_time(index * 40 * MS), "lens")


def test_each_camera_sleeps_by_itself(robot: Robot, tmp_path: Path) -> None:
    cameras = {
        name: robot.node.create_publisher(Image, f"{name}/image", robot.camera_qos) for name in ("front", "rear")
    }
    robot.listen("/perception/rear/flow")
    robot.start_perception(model=small_network(tmp_path), lazy=True, cameras="[front, rear]")
    robot.wait_for(lambda: cameras["front"].get_subscription_count() == 0)
    robot.wait_for(lambda: getattr(robot.camera("front")[0], "message", "") == SLEEPS)
    assert cameras["rear"].get_subscription_count() == 1
    robot.show(frames(1)[0], 40 * MS, "rear/image")
    robot.wait_for(lambda: robot.messages["/perception/rear/flow"])


@pytest.mark.parametrize("horizon", [1, 3])
def test_labels_are_carried_while_nobody_looks(robot: Robot, tmp_path: Path, horizon: int) -> None:
    """A camera with a source of labels stays awake. Its labels are there when a subscriber comes, late ones too."""
    images = frames(12)
    camera = robot.node.create_publisher(Image, "image", robot.camera_qos)
    robot.start_perception(model=small_network(tmp_path), lazy=True, horizon=horizon)
    robot.wait_for(lambda: is_asleep(robot))
    segmenter = robot.node.create_publisher(Image, "segmentation", robot.camera_qos)
    robot.wait_for(lambda: camera.get_subscription_count() == 1 and segmenter.get_subscription_count() == 1)
    robot.spin(3.0)  # Longer than the time after which a camera without labels sleeps.
    assert camera.get_subscription_count() == 1
    for index, image in enumerate(images[:10], start=1):
        camera.publish(message(image, index))
        robot.wait_for(lambda index=index: robot.count("frames processed") == index)
    segmenter.publish(message(np.full((64, 96), 7, np.uint8), 2, "mono8"))  # 320 ms late.
    robot.spin(3.0)
    assert not is_asleep(robot)
    robot.listen(LABELS)
    robot.spin(1.0)
    camera.publish(message(images[10], 11))
    robot.wait_for(lambda: robot.messages[LABELS])
    (labels,) = robot.messages[LABELS]
    ahead = 0 if horizon == 1 else horizon
    assert to_nanoseconds(labels.header.stamp) == (11 + ahead) * 40 * MS
    assert (image_to_array(labels) == 7).all()
    robot.wait_for(lambda: robot.count("labels received") == 1)
    assert robot.count("labels refused") == 0
