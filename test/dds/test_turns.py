"""Several cameras that are faster than the node: each gets its turn, the oldest frames go first, and it says so."""

import threading
from pathlib import Path

import pytest
from rclpy.clock import Clock
from rclpy.logging import get_logger
from robot import MS, small_network
from sensor_msgs.msg import CompressedImage, Image

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import array_to_image, to_time
from stvae_ros.nodes.diagnostics.frame_budget import Budget, Load
from stvae_ros.nodes.perception.camera import Camera
from stvae_ros.nodes.perception.camera_labels import CameraLabels
from stvae_ros.nodes.perception.inference import Inference
from stvae_ros.nodes.perception.model import ActiveNetwork, load
from stvae_ros.nodes.perception.parameters import PARAMETERS
from stvae_ros.streaming import StepResult, StreamingPredictor


@pytest.mark.parametrize("batches", [False, True], ids=["in turn", "as one batch"])
def test_every_camera_gets_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: bool) -> None:
    scene, delivered, done = SyntheticScene(4, 96, 64), [], threading.Event()

    def deliver(camera: Camera, network: ActiveNetwork, motion: StepResult, message: Image | CompressedImage) -> float:
        delivered.append((camera.name, motion.stamp // MS))
        if len(delivered) == 3:
            done.set()
        return 0.0

    inference = Inference(Clock(), get_logger("test"), deliver, pytest.fail)
    values = {spec.name: spec.default for spec in PARAMETERS}
    inference.exchange(load(values | {"model": str(small_network(tmp_path)), "device": "cpu", "precision": "fp32"}))
    monkeypatch.setattr(StreamingPredictor, "is_faster_in_batches", batches)
    labels = CameraLabels(2.0, True, 10**6)
    cameras = [Camera(name, 1, inference.wake, labels, True) for name in ("slow", "fast", "late")]
    slow, fast, late = cameras
    for camera, stamp in ((fast, 1), (slow, 2), (fast, 3), (fast, 4), (late, 5)):
        camera.put(array_to_image(scene.frame(stamp), "bgr8", to_time(stamp * MS), "lens"))
    inference.start(cameras, threads=1, max_pixels=10**6)
    assert done.wait(60)
    inference.stop()
    assert sorted(delivered) == [("fast", 4), ("late", 5), ("slow", 2)]
    assert batches or [name for name, _ in delivered] == ["fast", "slow", "late"], "in the order in which they waited"
    assert fast.drops == {"overtaken": 2} and not slow.drops and not late.drops


@pytest.mark.parametrize(
    ("period", "seconds", "load"),
    [(0.1, 0.09, Load.WITHIN), (0.1, 0.11, Load.SUSTAINED), (1.0, 1.2, Load.SUSTAINED)],
    ids=["fast enough", "too slow", "too slow for few frames"],
)
def test_what_is_said_of_the_load(period: float, seconds: float, load: Load) -> None:
    budget, end = Budget(), 0.0
    for index in range(100):
        now = index * period
        budget.arrived(now)
        if now >= end:
            end = now + seconds
            budget.spent(end, since=now)
    assert budget.load(end)[0] is load
    assert budget.load(end)[1] == pytest.approx(seconds)
    assert budget.load(end + 6.0) == (Load.WITHIN, 0.0)


def test_a_moment_is_no_sustained_load() -> None:
    budget = Budget()
    for index in range(100):
        budget.arrived(index * 0.1)
        budget.spent(index * 0.1 + (3.0 if index == 99 else 0.05), since=index * 0.1)
    assert budget.load(12.9)[0] is Load.ONCE
