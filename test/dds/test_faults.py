"""Faults of cameras, clocks and callers, over DDS: the node goes on, says why, and counts everything."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from images import image_messages
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from robot import MS, RELIABLE_IMAGES, RELIABLE_QOS, Robot, small_network
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import array_to_image, to_nanoseconds, to_time

SECOND = 1000 * MS
SCENE = SyntheticScene(4, 96, 64)
LASTING = r"\[WARN\].*(no image on|same stamp|the memory of|carry no stamp|faster than the node)"
"""What /diagnostics has warned of for so long that it is in the log, too."""
OUTPUTS = ("flow", "flow_color", "surprise")


class Faulty(Robot):
    """A robot with a camera that misbehaves, and the account of what it sent."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.log = log
        self.sent: set[tuple[int, int]] = set()
        self.count_sent = 0
        self.now = 1_000 * SECOND

    def launch(self, folder: Path, **parameters: object) -> None:
        """Start the node with a small network, its log in a file, and listen to what has the stamp of its input."""
        for name in OUTPUTS:
            self.listen(f"/perception/{name}")
        with self.log.open("w") as file:
            self.start_perception(output=file, model=small_network(folder), num_threads=1, **parameters)

    def send(self, message: Image | CompressedImage, topic: str = "image") -> None:
        """Publish and keep account."""
        self.publish(message, topic)
        self.sent.add((message.header.stamp.sec, message.header.stamp.nanosec))
        self.count_sent += 1

    def send_slowly(self, *messages: Image) -> None:
        """Each after the one before has been looked at."""
        for message in messages:
            received = self.count("frames received")
            self.send(message)
            self.wait_for(lambda received=received: self.count("frames received") > received)
        self.settle()

    def frame(self, stamp: int, **fields: object) -> Image:
        """A sound image with this stamp but for the fields given."""
        message = array_to_image(SCENE.frame(stamp // (40 * MS) % 64), "bgr8", to_time(stamp), "lens")
        for name, value in fields.items():
            setattr(message, name, value)
        return message

    def tick(self) -> int:
        """Stamp of the next frame of a sound camera of 25 Hz."""
        self.now += 40 * MS
        return self.now

    def is_sound(self, send: Any = None) -> None:
        """One second of a sound camera brings at least one answer to it; all frames are accounted for."""
        first = self.now + 40 * MS
        for _ in range(25):
            stamp = self.tick()
            self.send(self.frame(stamp)) if send is None else send(stamp)
            self.spin(0.04)
        self.wait_for(lambda: any(to_nanoseconds(m.header.stamp) >= first for m in self.messages["/perception/flow"]))
        self.settle()

    def settle(self) -> None:
        """Wait until nothing waits in the node, and check its account."""
        messages = self.messages["/diagnostics"]
        seen = len(messages)
        self.wait_for(lambda: len(messages) > seen + 1 and self.count("frames waiting") == 0)
        counts = self.camera()[1]
        drops = sum(int(value) for key, value in counts.items() if key.startswith("drops: "))
        assert int(counts["frames received"]) == int(counts["frames processed"]) + drops, counts
        assert all(process.poll() is None for process in self.processes[:1]), "the node is alive"

    def expect(self, reason: str, count: int = 1) -> None:
        """Wait until so many frames or more have been dropped, or memories reset, for this reason."""
        self.wait_for(lambda: max(self.count(f"drops: {reason}"), self.count(f"resets: {reason}")) >= count)

    def check_stamps(self) -> None:
        """Nothing was published for a time at which there was no input."""
        for name in OUTPUTS:
            stamps = {(m.header.stamp.sec, m.header.stamp.nanosec) for m in self.messages[f"/perception/{name}"]}
            assert stamps <= self.sent, f"{name}: {stamps - self.sent}"

    def check_log(self, *explained: str) -> None:
        """No warning or error but those expected."""
        for line in self.log.read_text().splitlines():
            known = line.startswith("[INFO]") or any(re.search(pattern, line) for pattern in (LASTING, *explained))
            assert known, f"unexplained: {line}"


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Faulty]:
    with Faulty(tmp_path / "log") as robot:
        yield robot


def number(name: str, value: float | int) -> Parameter:
    if isinstance(value, int):
        return Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value))
    return Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value))


def test_rates_and_stamps_that_no_camera_should_have(faulty: Faulty, tmp_path: Path) -> None:
    faulty.launch(tmp_path)
    faulty.is_sound()

    def send_answered(message: Image) -> None:
        seen = len(faulty.messages["/perception/flow"])
        faulty.send(message)
        faulty.wait_for(lambda: len(faulty.messages["/perception/flow"]) > seen)

    for _ in range(500):  # a burst
        faulty.send(faulty.frame(faulty.tick()))
    for _ in range(200):  # 200 Hz
        faulty.send(faulty.frame(faulty.tick()))
        faulty.spin(0.005)
    faulty.expect("overtaken")
    for _ in range(3):  # 0.1 Hz
        faulty.now += 10 * SECOND
        send_answered(faulty.frame(faulty.tick()))
    faulty.expect("gap", 3)
    faulty.is_sound()

    stamp = faulty.tick()
    send_answered(faulty.frame(stamp))
    faulty.send_slowly(faulty.frame(stamp))  # equal
    send_answered(faulty.frame(stamp - 200 * MS))  # backward
    strange = [(0, 0), (0, 0), (2**31 - 1, 999_999_999), (-5, 7), (1, 2**32 - 1), (0, 0)]
    for sec, nanosec in strange:
        message = faulty.frame(0)
        message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
        send_answered(message)
    faulty.expect("repeated stamp")
    faulty.expect("time jumped back", 2)
    shown = {(m.header.stamp.sec, m.header.stamp.nanosec) for m in faulty.messages["/perception/flow"]}
    assert set(strange) <= shown, "each is answered with the very stamp that it has"
    faulty.is_sound()
    faulty.check_stamps()
    faulty.check_log(r"\[WARN\].*image: ")


def test_images_that_no_camera_should_send(faulty: Faulty, tmp_path: Path) -> None:
    faulty.camera_qos = RELIABLE_QOS
    faulty.launch(tmp_path, max_image_pixels=100_000, queue="all", queue_limit=2000, **RELIABLE_IMAGES)
    faulty.is_sound()
    rng = random.Random(0)
    encodings = {"bgr8": 3, "mono8": 1, "rgba8": 4, "bayer_rggb8": 1, "mono16": 2, "uyvy": 2, "rgb16": 6}
    for _ in range(40):  # resolution and encoding change from frame to frame
        encoding, width, height = rng.choice(list(encodings)), 2 * rng.randint(8, 80), 2 * rng.randint(8, 60)
        data = np.frombuffer(rng.randbytes(height * width * encodings[encoding]), np.uint8)
        message = array_to_image(data.reshape(height, -1), encoding, to_time(faulty.tick()), "lens")
        message.width = width
        faulty.send(message)
        faulty.spin(0.03)
    faulty.expect("resolution changed")

    message = faulty.frame(faulty.tick())
    short, long = faulty.frame(faulty.tick()), faulty.frame(faulty.tick())
    del short.data[-1:]
    long.data.frombytes(bytes(1000))
    nan = array_to_image(np.full((64, 96), np.nan, np.float32), "32FC1", to_time(faulty.tick()), "lens")
    huge_step = faulty.frame(faulty.tick(), height=1, step=2**32 - 1)
    large = array_to_image(np.zeros((250, 401), np.uint8), "mono8", to_time(faulty.tick()), "lens")
    faulty.send_slowly(short, long, nan, huge_step, large, faulty.frame(faulty.tick(), height=2**32 - 1))
    faulty.expect("truncated")
    faulty.expect("unknown encoding")
    faulty.expect("too large", 2)
    faulty.is_sound()

    sent = faulty.count_sent

    @settings(max_examples=1000, deadline=None, derandomize=True, database=None)
    @given(image_messages())
    def fuzz(message: Image) -> None:
        faulty.send(message)
        faulty.executor.spin_once(0.0)

    fuzz()
    assert faulty.count_sent >= sent + 1000
    faulty.wait_for(lambda: faulty.count("frames received") == faulty.count_sent)
    noise = (0, 4, 40, 400)
    for size in noise:  # not even a message: Fast DDS drops it, Cyclone DDS hands on an image of sorts
        faulty._publishers["image"].publish(bytes((0, 1, 0, 0)) + rng.randbytes(size))
        faulty.spin(0.05)
    faulty.is_sound()
    counts = faulty.camera()[1]
    assert int(counts["frames received"]) - faulty.count_sent in (0, len(noise))
    assert counts["frames lost by the middleware"] == "0"
    assert {"drops: overtaken", "drops: queue full", "drops: internal error"}.isdisjoint(counts), "each is looked at"
    faulty.check_stamps()
    faulty.check_log(r"\[WARN\].*image: ")


def test_a_camera_that_dies_and_comes_back(faulty: Faulty, tmp_path: Path) -> None:
    faulty.launch(tmp_path)
    camera = faulty.start("video_publisher", width=96, height=64, rate=20.0)
    flows = faulty.messages["/perception/flow"]
    for ending in (signal.SIGKILL, signal.SIGINT):
        seen = len(flows)
        faulty.wait_for(lambda seen=seen: len(flows) > seen + 3)
        camera.send_signal(ending)
        camera.wait()
        if ending is signal.SIGKILL:
            faulty.wait_for(lambda: faulty.camera()[0].message.startswith("no image on /image for"))
            camera = faulty.start("video_publisher", width=96, height=64, rate=20.0)
    faulty.spin(0.5)
    faulty.now = to_nanoseconds(flows[-1].header.stamp)
    for name in OUTPUTS:
        faulty.messages[f"/perception/{name}"].clear()
    faulty.is_sound()
    faulty.check_stamps()
    faulty.check_log(r"\[WARN\].*image: ")


def test_callers_that_storm(faulty: Faulty, tmp_path: Path) -> None:
    faulty.launch(tmp_path)
    faulty.is_sound()
    reset = faulty.node.create_client(Trigger, "/perception/reset")
    enable = faulty.node.create_client(SetBool, "/perception/enable")
    change = faulty.node.create_client(ChangeState, "/perception/change_state")
    parameters = faulty.node.create_client(SetParameters, "/perception/set_parameters")
    for client in (reset, enable, change, parameters):
        faulty.wait_for(client.service_is_ready)
    faulty.spin(0.5)
    rng = random.Random(1)
    texts = ("bf16", "fp32", "auto", "fp7")
    for index in range(40):
        precision = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=rng.choice(texts))
        chosen = [
            number("max_gap", rng.choice([0.5, 1.0, 2.0, -1.0])),
            number("horizon", rng.choice([1, 1, 2, 99])),
            number("flow_color_max", rng.uniform(-1, 10)),
            number("queue_limit", 7),
            Parameter(name="precision", value=precision),
        ]
        answers = [
            parameters.call_async(SetParameters.Request(parameters=rng.sample(chosen, 2))),
            reset.call_async(Trigger.Request()),
            enable.call_async(SetBool.Request(data=index % 3 != 0)),
        ]
        if index % 10 == 0:  # transitions that an active node does not have
            request = ChangeState.Request()
            request.transition.id = rng.choice([1, 2, 3, 77, 255])
            answers.append(change.call_async(request))
        faulty.send(faulty.frame(faulty.tick()))
        # A service keeps ten requests, and forgets the oldest of more.
        faulty.wait_for(lambda answers=answers: all(answer.done() for answer in answers))
    assert faulty.call(SetBool, "/perception/enable", data=True).success
    last = [number("max_gap", 1.0), number("horizon", 1)]
    results = faulty.call(SetParameters, "/perception/set_parameters", parameters=last).results
    assert all(result.successful for result in results)
    faulty.expect("requested")
    faulty.expect("disabled")
    faulty.wait_for(lambda: "next network" not in faulty.process()[1], 60)
    faulty.is_sound()
    faulty.check_stamps()
    assert faulty.process()[0].level == b"\0", faulty.process()
    faulty.check_log("refused to change state", "No transition matching|Unable to start transition")


def test_clocks_that_jump_and_bytes_that_are_no_image(faulty: Faulty, tmp_path: Path) -> None:
    faulty.launch(tmp_path, use_sim_time=True, image_transport="compressed", max_image_pixels=100_000)
    clock = faulty.node.create_publisher(Clock, "/clock", 10)
    assert faulty.process()[1]["state"] == "active", "diagnostics come before there is a clock"
    flows = faulty.messages["/perception/flow"]

    def encoded(index: int, kind: str) -> bytes:
        return bytes(cv2.imencode(f".{kind}", SCENE.frame(index % 64))[1])

    def send(stamp: int, data: bytes) -> None:
        message = CompressedImage(format="png")
        message.header.stamp = to_time(stamp)
        message.data.frombytes(data)
        faulty.send(message, "image/compressed")

    def send_sound(stamp: int) -> None:
        clock.publish(Clock(clock=to_time(stamp)))
        send(stamp, encoded(stamp // (40 * MS), "png"))

    def send_unstamped(time: int) -> None:
        """Without a stamp: whatever the clock says, each is worked on."""
        clock.publish(Clock(clock=to_time(time)))
        faulty.spin(0.1)
        seen = len(flows)
        send(0, encoded(time // (40 * MS), "jpg"))
        faulty.wait_for(lambda: len(flows) > seen)

    faulty.is_sound(send_sound)
    for time in (faulty.tick(), faulty.tick(), faulty.tick()):
        send_unstamped(time)
    assert [to_nanoseconds(message.header.stamp) for message in flows[-3:]] == [0, 0, 0]
    for time in (faulty.now, faulty.now - 500 * SECOND, faulty.now + 500 * SECOND):  # it stands still, and jumps
        send_unstamped(time)
    assert "drops: repeated stamp" not in faulty.camera()[1]
    faulty.is_sound(send_sound)
    faulty.expect("time jumped back")
    send_sound(faulty.tick())
    send_sound(faulty.now + 500 * SECOND)
    faulty.expect("gap")
    faulty.now += 500 * SECOND
    faulty.is_sound(send_sound)

    rng = random.Random(2)
    whole = [encoded(index, kind) for index, kind in enumerate(("png", "jpg") * 4)]
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + bytes(4)
    broken = [b"", header]
    for data in whole:
        place = rng.randrange(20, len(data))
        broken += [rng.randbytes(rng.randrange(3000)), data[:place], data[:place] + rng.randbytes(50) + data[place:]]
    received = faulty.count("frames received")
    for data in broken:
        send(faulty.tick(), data)
        faulty.spin(0.1)
    faulty.settle()
    assert faulty.count("frames received") > received + 20
    faulty.expect("not decodable", 8)
    faulty.expect("too large")
    faulty.is_sound(send_sound)
    faulty.check_stamps()
    faulty.check_log(r"\[WARN\].*image: ", r"libpng (warning|error)", r"JPEG", r"global .*(grfmt|loadsave)", r"^$")
