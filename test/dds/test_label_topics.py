"""Labels in the perception node, over DDS."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from robot import MS, Robot, small_network
from sensor_msgs.msg import Image

from stvae_ros.checkpoint import Checkpoint, save
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nn.registry import create_segmenter
from stvae_ros.nodes.conversion import to_nanoseconds
from stvae_ros.streaming import Frame
from stvae_ros.streaming.segmentation import StreamingSegmenter

LABELS, COLORS, FLOW = "/perception/labels", "/perception/labels_color", "/perception/flow"
SCENE = SyntheticScene(11, 320, 240, objects=3, max_speed=3.0)


@pytest.fixture
def robot() -> Iterator[Robot]:
    with Robot() as robot:
        for topic in (LABELS, COLORS, FLOW):
            robot.listen(topic)
        yield robot


def pixels(message: Image) -> np.ndarray:
    kind = {"mono8": np.uint8, "mono16": np.uint16, "bgr8": np.dtype((np.uint8, 3))}[message.encoding]
    return np.frombuffer(message.data, kind).reshape(message.height, message.width, -1).squeeze()


def at(t: int) -> int:
    """Stamp of frame t in nanoseconds."""
    return (t + 1) * 40 * MS


def feed(robot: Robot, start: int, end: int, scene: SyntheticScene = SCENE) -> None:
    robot.feed([scene.frame(t) for t in range(start, end)], FLOW, start=start + 1)


def label(robot: Robot, labels: np.ndarray, stamp: int, encoding: str = "mono8", topic: str = "segmentation") -> None:
    robot.show(labels, stamp, topic, encoding)
    robot.spin(0.3)


def labels_of(robot: Robot, t: int, topic: str = LABELS) -> Image:
    return robot.wait_for(
        lambda: next((m for m in robot.messages[topic] if to_nanoseconds(m.header.stamp) == at(t)), None)
    )


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_late_sparse_labels_stay_on_what_moves(robot: Robot) -> None:
    scene = SyntheticScene(5, 320, 240, objects=1)
    robot.start_perception()
    label(robot, scene.truth(0).labels, at(0))
    feed(robot, 0, 8, scene)
    label(robot, scene.truth(4).labels, at(4))
    feed(robot, 8, 15, scene)
    last = labels_of(robot, 14)
    assert (last.encoding, last.width, last.height, last.header.frame_id) == ("mono8", 320, 240, "lens")
    truth, held = scene.truth(14).labels > 0, scene.truth(4).labels > 0
    assert overlap(pixels(last) > 0, truth) > 0.9 > 0.3 > overlap(held, truth)
    colors = pixels(labels_of(robot, 14, COLORS))
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) == 2
    robot.wait_for(lambda: float(robot.camera()[1].get("label age (s)", 0)) == pytest.approx(10 * 0.04))
    assert robot.count("labels received") == 2 and robot.count("labels refused") == 0


def test_labels_that_cannot_be_used_are_counted_by_reason(robot: Robot) -> None:
    robot.start_perception(label_history=0.2, max_image_pixels=320 * 240)
    feed(robot, 0, 10)
    good = SCENE.truth(9).labels
    label(robot, good, at(9))
    label(robot, good, at(2))
    label(robot, good, at(90))
    label(robot, good.astype(np.float32), at(9), "32FC1")
    label(robot, good[..., None].repeat(3, axis=2), at(9), "bgr8")
    label(robot, good, at(8))
    label(robot, good.repeat(2, axis=0), at(9))
    feed(robot, 10, 11)
    reasons = {"too late": 1, "from the future": 1, "wrong type": 2, "overtaken": 1, "too large": 1}
    for reason, count in reasons.items():
        robot.wait_for(lambda reason=reason, count=count: robot.count(f"labels refused: {reason}") == count)
    assert robot.camera()[0].level == b"\1" and robot.camera()[0].message.startswith("/segmentation: ")
    assert robot.count("labels received") == 7 and robot.count("labels refused") == 6
    assert overlap(pixels(labels_of(robot, 10)) == 0, SCENE.truth(10).labels == 0) > 0.9, "the good ones are in use"
    robot.show(SCENE.frame(13), at(13), encoding="nonsense")
    robot.wait_for(lambda: robot.count("drops: unknown encoding") == 1)
    feed(robot, 16, 17)
    for frame in (12, 13):
        label(robot, good, at(frame))
    feed(robot, 17, 18)
    robot.wait_for(lambda: robot.count("labels refused: no such frame") == 2)
    message = robot.camera()[0].message
    assert message.startswith(
        f"/segmentation: labels of {at(13)} ns: the nearest frame is 120 ms away, because the node"
    )


def test_labels_of_another_size_and_of_sixteen_bits(robot: Robot) -> None:
    robot.start_perception()
    feed(robot, 0, 3)
    half = (SCENE.truth(2).labels.astype(np.uint16) * 300)[::2, ::2]
    label(robot, half, at(2), "mono16")
    feed(robot, 3, 4)
    last = labels_of(robot, 3)
    assert (last.encoding, last.width, last.height) == ("mono16", 320, 240)
    assert set(np.unique(pixels(last))) <= {0, 300, 600, 900, 1200}
    assert overlap(pixels(last) == 0, SCENE.truth(3).labels == 0) > 0.95


def test_a_bag_that_starts_again_forgets_its_labels(robot: Robot) -> None:
    robot.start_perception()
    feed(robot, 0, 5)
    label(robot, SCENE.truth(4).labels, at(4))
    feed(robot, 5, 7)
    labels_of(robot, 6)
    robot.messages[LABELS].clear()
    feed(robot, 0, 3)
    assert not robot.messages[LABELS], "labels of the end of the bag are not those of its start"
    label(robot, SCENE.truth(1).labels, at(1))
    feed(robot, 3, 4)
    assert overlap(pixels(labels_of(robot, 3)) == 0, SCENE.truth(3).labels == 0) > 0.95


def test_labels_of_one_camera_leave_the_other_alone(tmp_path: Path) -> None:
    with Robot() as robot:
        robot.listen("/perception/front/labels")
        robot.listen("/perception/rear/labels")
        robot.listen("/perception/rear/flow")
        robot.start_perception(cameras="[front, rear]", model=small_network(tmp_path))
        for t in range(3):
            robot.show(SCENE.frame(t), at(t), "front/image")
            robot.show(SCENE.frame(t), at(t), "rear/image")
            robot.spin(0.3)
        label(robot, SCENE.truth(2).labels, at(2), topic="front/segmentation")
        robot.show(SCENE.frame(3), at(3), "rear/image")
        robot.show(SCENE.frame(3), at(3), "front/image")
        robot.wait_for(lambda: robot.messages["/perception/front/labels"])
        robot.spin(0.5)
        assert not robot.messages["/perception/rear/labels"]


def test_with_a_horizon_labels_lead_too(robot: Robot) -> None:
    robot.start_perception(horizon=2)
    feed(robot, 0, 6)
    label(robot, SCENE.truth(5).labels, at(5))
    feed(robot, 6, 7)
    ahead = labels_of(robot, 8)
    assert overlap(pixels(ahead) == 0, SCENE.truth(8).labels == 0) > 0.9


def test_a_class_table_gives_colors(robot: Robot, tmp_path: Path) -> None:
    table = tmp_path / "classes.yaml"
    table.write_text("classes: [{id: 0, name: floor, color: [10, 20, 30]}]")
    robot.start_perception(label_classes=str(table), model=small_network(tmp_path))
    feed(robot, 0, 2)
    label(robot, np.zeros((240, 320), np.uint8), at(1))
    feed(robot, 2, 3)
    assert (pixels(labels_of(robot, 2, COLORS)) == (30, 20, 10)).all()


def test_a_class_table_that_is_not_there_keeps_the_node_unconfigured(robot: Robot) -> None:
    robot.start("perception_node", label_classes="/nowhere/classes.yaml")
    robot.wait_for(lambda: robot.process()[0] is not None and "/nowhere/classes.yaml" in robot.process()[0].message, 60)


def test_the_node_labels_frames_itself(robot: Robot, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "segmenter.safetensors"
    segmenter = create_segmenter("segnet-basic", classes=5)
    save(weights, segmenter, "segnet-basic", {"classes": 5}, {"processing_size": "[80, 64]"})
    robot.start_perception(model=small_network(tmp_path), segmenter=weights, segmenter_every=3, precision="fp32")
    image = SCENE.frame(0)
    alone = StreamingSegmenter.from_weights(Checkpoint.open(weights), device="cpu", precision="fp32").label(
        Frame(image, 0)
    )
    assert len(np.unique(alone)) > 1
    shown = 0
    while not robot.messages[LABELS] or robot.count("labels received") < 2:
        assert shown < 200, "frames in between which it has time"
        shown += 1
        robot.feed([image], FLOW, start=shown)
        robot.spin(0.05)
    found = robot.messages[LABELS][-1]
    expected = cv2.resize(alone, (320, 240), interpolation=cv2.INTER_NEAREST)
    assert (pixels(found) == expected).mean() > 0.8, "a still picture keeps the labels, but for scaling"
    assert robot.process()[1]["segmenter"] == str(weights)
