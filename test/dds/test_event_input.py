"""Events and moving objects of the perception node, over DDS."""

from pathlib import Path
from threading import Condition
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from hypothesis import given, settings, strategies
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter as RclParameter
from robot import MS, Robot
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from stvae_ros import zoo
from stvae_ros.checkpoint import save
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.events.images import EventImage
from stvae_ros.events.packets import ENCODINGS
from stvae_ros.events.simulator import EventModel, EventSimulator
from stvae_ros.nodes.conversion import ImageError, image_to_array, to_nanoseconds, to_time
from stvae_ros.nodes.diagnostics.status import camera_status
from stvae_ros.nodes.perception.camera import Camera
from stvae_ros.nodes.perception.camera_labels import CameraLabels
from stvae_ros.nodes.perception.event_input import (
    CameraInput,
    PacketInput,
    SimulatedInput,
    check_event_source,
    event_camera_msgs,
    take_packet,
)
from stvae_ros.visualization.event_colors import events_to_color, events_to_grey

KINDS = ("events", "predicted_events", "surprise_events")
TOPICS = (*KINDS, *(f"{kind}_color" for kind in KINDS), "motion_mask")
SHOWN = 6


def test_event_topics_and_motion_mask(tmp_path: Path) -> None:
    scene = SyntheticScene(7778, 160, 120)
    images = [scene.frame(t) for t in range(SHOWN + 3)]
    with Robot() as robot:
        for name in TOPICS:
            robot.listen(f"/perception/{name}")
        robot.listen("/perception/flow")
        robot.start_perception(model="stvae-rt-s", theta_off=0.3)
        robot.feed(images[:SHOWN], "/perception/flow")
        messages: dict[str, list[Image]] = {name: robot.messages[f"/perception/{name}"] for name in TOPICS}
        robot.wait_for(lambda: all(len(received) == SHOWN - 1 for received in messages.values()))

        simulator = EventSimulator(EventModel(theta_on=0.2, theta_off=0.3))
        for t, image in enumerate(images[:SHOWN]):
            made = simulator.step(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (t + 1) * 40 * MS)
            if made is None:
                continue
            drawn = {name: image_to_array(messages[name][t - 1]) for name in TOPICS}
            assert np.array_equal(drawn["events"], events_to_grey(made.counts))
            assert np.array_equal(drawn["events_color"], events_to_color(made.counts))
        assert 0.02 < (made.counts != 0).mean() < 0.9
        for name, received in messages.items():
            ahead = 40 * MS if name.startswith("predicted") else 0
            encoding = "bgr8" if name.endswith("color") else "mono8"
            for t, message in enumerate(received, start=2):
                assert (message.width, message.height, message.encoding) == (160, 120, encoding)
                assert message.header.frame_id == "lens"
                assert to_nanoseconds(message.header.stamp) == t * 40 * MS + ahead, name
            values = set(np.unique(np.stack([image_to_array(message) for message in received])).tolist())
            if name in KINDS:
                assert values == {0, 128, 255}, name
            elif name == "motion_mask":
                assert values == {0, 255}
        truth = scene.truth(SHOWN - 1).labels > 0
        mask = drawn["motion_mask"] > 0
        assert (mask & truth).sum() / (mask | truth).sum() > 0.4

        value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=5.0)
        parameters = [Parameter(name=name, value=value) for name in ("theta_on", "theta_off")]
        results = robot.call(SetParameters, "/perception/set_parameters", parameters=parameters).results
        assert all(result.successful for result in results)
        robot.feed(images[SHOWN:], "/perception/flow", start=SHOWN + 1)
        robot.wait_for(lambda: len(messages["events"]) == SHOWN + 2)
        assert (image_to_array(messages["events"][-1]) == 128).all(), "nothing changes by so much"

        # Another network, which sees events; the thresholds go back.
        shown = EventImage(limit=3)
        path = tmp_path / "events.safetensors"
        save(path, zoo.create("ae-convlstm-flow"), "ae-convlstm-flow", {}, shown.metadata())
        values = {"model": str(path), "theta_on": 0.2, "theta_off": 0.3}
        parameters = [RclParameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        results = robot.call(SetParameters, "/perception/set_parameters", parameters=parameters).results
        assert all(result.successful for result in results), results
        robot.wait_for(lambda: robot.process()[1].get("events from") == "frames", 60)
        robot.listen("/perception/prediction")
        before = {name: len(received) for name, received in messages.items()}
        robot.feed(images[:4], "/perception/flow", start=SHOWN + 10)
        robot.wait_for(lambda: len(messages["events"]) == before["events"] + 4)
        simulator = EventSimulator(EventModel(theta_on=0.2, theta_off=0.3))
        for image, message in zip(images, messages["events"][before["events"] :], strict=False):
            made = simulator.step(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), to_nanoseconds(message.header.stamp))
            drawn = image_to_array(message)
            assert (drawn == 128).all() if made is None else np.array_equal(drawn, events_to_grey(made.counts))
        robot.wait_for(lambda: len(robot.messages["/perception/prediction"]) >= 3)
        assert {m.encoding for m in robot.messages["/perception/prediction"]} == {"mono8"}


def packet(words: list[int], stamp: int, **fields: object) -> SimpleNamespace:
    """What event_camera_msgs/EventPacket holds; the package itself is not on PyPI."""
    header = SimpleNamespace(stamp=to_time(stamp), frame_id="lens")
    events = np.array(words, "<u2").view(np.uint8)
    sound = {"header": header, "width": 8, "height": 4, "encoding": "evt3", "time_base": 0, "events": events}
    return SimpleNamespace(**(sound | fields))


def evt3(milliseconds: int, x: int, y: int, on: int) -> list[int]:
    time = 1000 * milliseconds
    return [0x8000 | time >> 12, 0x6000 | time & 0xFFF, y, 0x2000 | on << 11 | x]


def test_packets_become_images_of_windows() -> None:
    source = PacketInput(EventImage(limit=2, window=10.0), 32)
    epoch = 1_700_000_000_000_000_000
    first = packet([*evt3(5, 3, 1, 1), *evt3(9, 3, 1, 1), *evt3(14, 0, 2, 0)], epoch)
    assert list(source.images(first)) == [], "the window from 5 to 15 ms is not over"
    images = list(source.images(packet([*evt3(16, 7, 3, 1), *evt3(36, 1, 1, 1)], epoch + 12 * MS)))
    assert [to_nanoseconds(m.header.stamp) - epoch for m in images] == [10 * MS, 20 * MS, 30 * MS]
    assert {(m.width, m.height, m.encoding, m.header.frame_id) for m in images} == {(8, 4, "mono8", "lens")}
    drawn = [image_to_array(m) for m in images]
    expected = np.full((4, 8), 128)
    expected[1, 3], expected[2, 0] = 255, 64
    assert np.abs(drawn[0].astype(int) - expected).max() <= 1
    assert drawn[1][3, 7] == 192 and (drawn[2] == 128).all()
    later = list(source.images(packet([*evt3(50, 1, 1, 1), *evt3(61, 1, 1, 1)], epoch + 9000 * MS)))
    assert [to_nanoseconds(m.header.stamp) - epoch for m in later] == [9010 * MS], "another recording starts"


def test_each_packet_that_cannot_be_used_is_counted() -> None:
    sound = evt3(5, 3, 1, 1)
    camera, images, log = Camera("", 9, Condition(), CameraLabels(1.0, True, 32)), [], []
    source = PacketInput(EventImage(window=10.0), 32)
    told = {
        "": (packet(sound, 0), packet([*sound, *evt3(16, 3, 1, 1)], 0), packet([], 0)),
        "'mono'": (packet([], 0, encoding="mono"),),
        "over 16.7": (packet([*sound, 0x8FFF, *sound], 0),),
        "time base of 18446744073709551615 ns": (packet(sound, 0, time_base=2**64 - 1),),
        "9x4 has more than 32 pixels; raise max_image_pixels": (packet(sound, 0, width=9),),
        "8x0": (packet(sound, 0, height=0),),
    }
    for text, packets in told.items():
        for each in packets:
            take_packet(each, source, camera, images.append, log.append)
        assert (text in log.pop()) if text else not log
    with pytest.raises(TypeError):  # which the executor logs
        take_packet(packet(sound, 0, events="text"), source, camera, images.append, log.append)
    reasons = {"unknown encoding": 1, "damaged": 2, "too large": 1, "zero size": 1, "internal error": 1}
    assert len(images) == 1 and camera.packets == 9 and camera.packet_drops == reasons
    status = camera_status("node", camera, "/events_in", None, None)
    assert status.level == DiagnosticStatus.WARN and status.message.startswith("/events_in: a packet of events failed")
    values = {pair.key: pair.value for pair in status.values}
    assert values["packets received"] == "9" and values["packets dropped"] == "6"
    assert all(values[f"packets dropped: {reason}"] == str(count) for reason, count in reasons.items())


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    encoding=strategies.sampled_from([*ENCODINGS, "mono", ""]),
    width=strategies.sampled_from([0, 1, 8, 2**32 - 1]),
    time_base=strategies.integers(0, 2**64 - 1),
    sec=strategies.integers(-(2**31), 2**31 - 1),
    data=strategies.binary(max_size=400),
)
def test_packets_as_they_must_never_be(encoding: str, width: int, time_base: int, sec: int, data: bytes) -> None:
    source, first = PacketInput(EventImage(window=10.0), 32), packet(evt3(5, 3, 1, 1), 0)
    last = packet([], 0, encoding=encoding, width=width, time_base=time_base, events=np.frombuffer(data, np.uint8))
    last.header.stamp.sec = sec
    camera, put = Camera("", 9, Condition(), CameraLabels(1.0, True, 32)), []
    for message in (first, last, last):
        take_packet(message, source, camera, put.append, lambda problem: None)
    assert {(image.width, image.height) for image in put} <= {(width, 4)}


def test_damaged_packets_and_times_without_events_make_no_images() -> None:
    source = PacketInput(EventImage(window=10.0), 32)
    damaged = packet([*evt3(5, 3, 1, 1), 0x8FFF, *evt3(5, 3, 1, 1)], 0)
    with pytest.raises(ValueError, match=r"a packet of events over 16\.7\d+ s is damaged and is dropped"):
        list(source.images(damaged))
    source = PacketInput(EventImage(window=10.0), 32)
    assert list(source.images(packet([*evt3(5, 3, 1, 1), *evt3(9, 3, 1, 1)], 5 * MS))) == []
    late = packet([*evt3(1505, 3, 1, 1), *evt3(1516, 3, 1, 1)], 1505 * MS)
    assert [to_nanoseconds(m.header.stamp) for m in source.images(late)] == [1515 * MS], "and not 150 empty ones"


@pytest.mark.skipif(event_camera_msgs is None, reason="needs event_camera_msgs, which is not on PyPI")
def test_packets_of_an_event_camera_over_dds(tmp_path: Path) -> None:
    path = tmp_path / "events.safetensors"
    seen = {"processing_size": "[16, 16]", **EventImage(window=10.0).metadata()}
    save(path, zoo.create("ae-convlstm-flow"), "ae-convlstm-flow", {}, seen)
    with Robot() as robot:
        for name in ("events", "prediction", "flow"):
            robot.listen(f"/perception/{name}")
        robot.start_perception(model=path, event_source="packets", queue="all")
        for t in range(4):
            made = packet([*evt3(10 * t + 5, 3, 1, 1), *evt3(10 * t + 9, 7, 2, 0)], (t + 1) * 10 * MS)
            fields = {name: getattr(made, name) for name in ("width", "height", "encoding", "time_base")}
            message = event_camera_msgs.EventPacket(**fields, header=Header(stamp=made.header.stamp, frame_id="lens"))
            message.events.frombytes(made.events.tobytes())
            robot.publish(message, "events_in")
        received = [robot.messages[f"/perception/{name}"] for name in ("events", "prediction", "flow")]
        robot.wait_for(lambda: all(len(messages) == 3 for messages in received))
        for messages in received:
            assert {(m.width, m.height, m.header.frame_id) for m in messages} == {(8, 4, "lens")}
        assert [to_nanoseconds(m.header.stamp) for m in received[0]] == [20 * MS, 30 * MS, 40 * MS]
        expected = np.full((4, 8), 128)
        expected[1, 3], expected[2, 7] = 255, 0
        assert all(np.array_equal(image_to_array(m), expected) for m in received[0])
        robot.publish(event_camera_msgs.EventPacket(width=8, height=4, encoding="mono"), "events_in")
        robot.wait_for(lambda: robot.count("packets dropped: unknown encoding") == 1)
        assert robot.count("packets received") == 5 and robot.count("frames received") == 3
        assert robot.camera()[0].message.startswith("/events_in: event packets of encoding 'mono'")


def test_what_networks_of_events_are_shown() -> None:
    frames = [np.full((4, 4, 3), level, np.uint8) for level in (50, 150, 50)]
    source = SimulatedInput(EventImage(limit=2), EventModel())
    assert [int(source(frame, t)[0, 0]) for t, frame in enumerate(frames, start=1)] == [128, 255, 1]
    assert int(source(frames[1], 3)[0, 0]) == 128, "time does not go on"
    events = CameraInput(EventImage(), "images", EventModel())
    assert events.prepare(frames[0][..., 0], 0).shape == (4, 4)
    with pytest.raises(ImageError, match="event_source: frames"):
        events.prepare(frames[0], 0)
    check_event_source("packets", None)
    check_event_source("frames", EventImage())
    if event_camera_msgs is None:
        with pytest.raises(ValueError, match="event_camera_msgs, which is not installed: apt install"):
            check_event_source("packets", EventImage())
