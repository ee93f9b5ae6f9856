"""The network of the node: one object, exchanged between two frames."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from rclpy.clock import Clock
from rclpy.logging import get_logger

from stvae_ros import zoo
from stvae_ros.events.images import EventImage
from stvae_ros.nodes.conversion import array_to_image, to_time
from stvae_ros.nodes.perception.camera import Camera
from stvae_ros.nodes.perception.camera_labels import CameraLabels
from stvae_ros.nodes.perception.inference import Inference
from stvae_ros.nodes.perception.model import ActiveNetwork, NetworkSwap, load
from stvae_ros.nodes.perception.parameters import PARAMETERS
from stvae_ros.streaming import StepResult, StreamingPredictor

MS = 1_000_000
VALUES: dict[str, Any] = {spec.name: spec.default for spec in PARAMETERS} | {"device": "cpu", "precision": "fp32"}


def network(sees_events: bool, source: str = "frames") -> ActiveNetwork:
    """An untrained network of 16x16 pixels that sees frames, or events."""
    options = {"encoder": [2], "memory": [2], "in_channels": 1 if sees_events else 3}
    predictor = StreamingPredictor(zoo.create("ae-convlstm-flow", **options), "cpu", "fp32", (16, 16))
    return ActiveNetwork(predictor, VALUES | {"event_source": source}, {}, EventImage() if sees_events else None)


class Thread:
    """An inference thread, its camera, and what it delivers."""

    def __init__(self) -> None:
        self.delivered: list[tuple[ActiveNetwork, StepResult]] = []
        self.inference = Inference(Clock(), get_logger("test"), self.deliver, pytest.fail)
        self.camera = Camera("front", 10_000, self.inference.wake, CameraLabels(1.0, False, 1 << 20))

    def deliver(self, camera: Camera, active: ActiveNetwork, result: StepResult, message: object) -> float:
        self.delivered.append((active, result))
        return 0.0

    def put(self, index: int, made_for: ActiveNetwork | None = None, grey: bool = False) -> None:
        image = np.full((16, 16) if grey else (16, 16, 3), index % 200 + 1, np.uint8)
        stamp = to_time((index + 1) * 40 * MS)
        self.camera.put(array_to_image(image, "mono8" if grey else "bgr8", stamp, ""), made_for)

    def finish(self, count: int) -> None:
        end = time.monotonic() + 60
        while len(self.delivered) + sum(self.camera.drops.values()) < count:
            assert time.monotonic() < end
            time.sleep(0.01)
        self.inference.stop()


def test_a_frame_prepared_for_one_network_never_reaches_another() -> None:
    thread = Thread()
    networks = [network(False), network(True)]
    thread.inference.exchange(networks[0])
    thread.inference.start([thread.camera], 1, 1 << 20)
    stop = threading.Event()

    def exchange() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            thread.inference.exchange(networks[turn % 2])
            time.sleep(0.0005)

    exchanging = threading.Thread(target=exchange)
    exchanging.start()
    count = 1500
    for index in range(count):
        thread.put(index)
        time.sleep(0.0005)
    thread.finish(count)
    stop.set()
    exchanging.join()
    assert len(thread.delivered) == count and not thread.camera.drops
    assert {active for active, _ in thread.delivered} == set(networks), "both were at work"
    for active, result in thread.delivered:
        # A network that sees events is shown grey event images, any other the frame in its colours.
        assert (result.image.ndim == 2) == (active.event_image is not None)


def test_event_images_made_for_one_network_are_dropped_by_another() -> None:
    thread = Thread()
    first, second = network(True, "packets"), network(False)
    assert first.takes_packets and not second.takes_packets
    thread.inference.exchange(first)
    for index in range(4):
        thread.put(index, first, grey=True)
    thread.inference.exchange(second)
    thread.put(4)
    thread.inference.start([thread.camera], 1, 1 << 20)
    thread.finish(5)
    assert thread.camera.drops == {"network changed": 4}
    assert [active for active, _ in thread.delivered] == [second]


def test_the_cameras_keep_their_period_and_lose_their_memory() -> None:
    thread = Thread()
    thread.inference.exchange(network(False))
    for index in range(3):
        thread.put(index)
    thread.inference.start([thread.camera], 1, 1 << 20)
    end = time.monotonic() + 60
    while len(thread.delivered) < 3:
        assert time.monotonic() < end
        time.sleep(0.01)
    thread.inference.exchange(network(False))
    thread.put(3)
    thread.finish(4)
    assert [result.reset for _, result in thread.delivered] == ["first frame", None, None, "network changed"]
    assert thread.delivered[-1][1].period == 40 * MS


def test_a_change_of_network_loads_the_checkpoint_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from stvae_ros.checkpoint import Checkpoint

    read: list[str] = []
    content = Checkpoint._content
    monkeypatch.setattr(Checkpoint, "_content", lambda self: read.append(self.path.stem) or content(self))
    active = load(VALUES | {"model": "stvae-rt-s"})
    assert read == ["stvae-rt-s"] and "sha256:" in str(active.description["weights"])
    ready = threading.Event()
    swap = NetworkSwap(ready.set)
    swap.load(VALUES | {"model": "stvae-rt-s"}, active)
    swap.start()
    assert not swap.in_progress and len(read) == 1, "the active network stays"
    swap.load(VALUES | {"model": "stvae-rt-m"}, active)
    swap.start()
    assert swap.in_progress and ready.wait(60)
    loaded, problem = swap.take()
    assert loaded is not None and not problem and loaded.predictor.model == "stvae-rt-m"
    assert read == ["stvae-rt-s", "stvae-rt-m"]
