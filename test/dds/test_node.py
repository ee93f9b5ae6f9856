"""The perception node as a process, over DDS."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from robot import MS, Robot, small_network
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import array_to_image, to_nanoseconds, to_time
from stvae_ros.visualization.flow_color import flow_to_color

FLOW = "/perception/flow"


@pytest.fixture
def robot() -> Iterator[Robot]:
    with Robot() as robot:
        yield robot


def frames(count: int, width: int = 160, height: int = 120) -> list[np.ndarray]:
    scene = SyntheticScene(4, width, height)
    return [scene.frame(t) for t in range(count)]


def flow_of(message: Image) -> np.ndarray:
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width, 2)


def test_outputs_keep_the_contract(robot: Robot) -> None:
    names = ("flow", "prediction", "flow_color", "surprise", "decoded")
    for name in names:
        robot.listen(f"/perception/{name}")
    robot.start_perception(flow_color_max=4.0)
    images = frames(5, 320, 240)
    robot.feed(images, "/perception/decoded")
    robot.wait_for(lambda: len(robot.messages["/perception/surprise"]) == 4)
    messages = {name: robot.messages[f"/perception/{name}"] for name in names}
    assert {name: len(m) for name, m in messages.items()} == {**dict.fromkeys(names, 5), "surprise": 4}
    encodings = {"flow": "32FC2", "prediction": "bgr8", "flow_color": "bgr8", "surprise": "32FC1", "decoded": "bgr8"}
    sizes = {"flow": 8, "prediction": 3, "flow_color": 3, "surprise": 4, "decoded": 3}
    for name, received in messages.items():
        for index, message in enumerate(received):
            width, height = 320, 240
            assert (message.width, message.height, message.encoding) == (width, height, encodings[name])
            assert message.step == width * sizes[name] and len(message.data) == message.step * height
            assert message.header.frame_id == "lens"
            source = index + 2 if name == "surprise" else index + 1
            of_next = name in ("prediction", "decoded")
            period = 33_333_333 if index == 0 else 40 * MS  # before the second frame the period is not known
            expected = source * 40 * MS + (period if of_next else 0)
            assert to_nanoseconds(message.header.stamp) == expected, name
    surprise = np.frombuffer(messages["surprise"][2].data, np.float32).reshape(240, 320)
    predicted = np.frombuffer(messages["prediction"][2].data, np.uint8).reshape(240, 320, 3)
    np.testing.assert_allclose(surprise, np.abs(images[3].astype(np.float32) - predicted).mean(axis=2) / 255, atol=1e-4)
    colors = np.frombuffer(messages["flow_color"][4].data, np.uint8).reshape(240, 320, 3)
    expected = flow_to_color(flow_of(messages["flow"][4]), 4.0)
    assert np.abs(colors.astype(int) - expected).mean() < 3 and np.ptp(expected) > 30


def test_horizon(robot: Robot) -> None:
    robot.listen(FLOW)
    robot.listen("/perception/prediction")
    robot.start_perception(horizon=3)
    texture = SyntheticScene(11, 480, 400, objects=0, camera_motion=0).frame(0)
    images = [texture[80:320, 80 - t * 4 : 400 - t * 4] for t in range(8)]
    robot.feed(images, FLOW)
    robot.wait_for(lambda: len(robot.messages["/perception/prediction"]) == 8)
    shown, expected = robot.messages[FLOW][-1], robot.messages["/perception/prediction"][-1]
    assert to_nanoseconds(expected.header.stamp) - to_nanoseconds(shown.header.stamp) == 3 * 40 * MS
    far = flow_of(shown)[60:-60, 60:-60, 0].mean()
    value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=1)
    parameters = [Parameter(name="horizon", value=value)]
    assert robot.call(SetParameters, "/perception/set_parameters", parameters=parameters).results[0].successful
    robot.feed([texture[80:320, 80 - t * 4 : 400 - t * 4] for t in range(8, 12)], FLOW, start=9)
    near = flow_of(robot.messages[FLOW][-1])[60:-60, 60:-60, 0].mean()
    assert 3 < near < 5 and 9 < far < 15, f"4 pixels a frame: {near} in one, {far} in three"


def test_known_motion_gives_flow_of_the_right_sign_and_size(robot: Robot) -> None:
    texture = SyntheticScene(11, 480, 400, objects=0, camera_motion=0).frame(0)
    robot.listen(FLOW)
    robot.start_perception()
    for x, y in ((4, 0), (0, -4)):  # right, then up, back in time
        robot.feed([texture[80 - t * y : 320 - t * y, 80 - t * x : 400 - t * x] for t in range(12)], FLOW)
        flow = flow_of(robot.messages[FLOW][-1])[40:-40, 40:-40].mean(axis=(0, 1))
        along, across = (flow * (x, y)).sum() / 4, abs(flow[0 if x == 0 else 1])
        assert 2.0 < along < 6.0 and across < 1.0, f"mean flow {flow}, true motion {(x, y)}"


def test_grey_and_compressed_images(robot: Robot, tmp_path: Path) -> None:
    weights = small_network(tmp_path)
    robot.listen("/perception/prediction")
    robot.start_perception(model=weights)
    robot.feed([cv2.cvtColor(f, cv2.COLOR_BGR2GRAY) for f in frames(2)], "/perception/prediction", "mono8")
    assert {m.encoding for m in robot.messages["/perception/prediction"]} == {"mono8"}
    robot.start("perception_node", ("__ns:=/lens",), image_transport="compressed", model=weights)
    robot.listen("/lens/perception/flow")
    for index, frame in enumerate(frames(3), start=1):
        message = CompressedImage(format="bgr8; jpeg compressed bgr8")
        message.header.stamp, message.header.frame_id = to_time(index * 40 * MS), "lens"
        message.data.frombytes(cv2.imencode(".jpg", frame)[1].tobytes())
        robot.publish(message, "/lens/image/compressed")
        robot.wait_for(lambda index=index: len(robot.messages["/lens/perception/flow"]) == index)
    last = robot.messages["/lens/perception/flow"][-1]
    assert (last.width, last.height, last.header.frame_id) == (160, 120, "lens")


def test_a_camera_that_misbehaves_never_kills_the_node(robot: Robot, tmp_path: Path) -> None:
    robot.listen(FLOW)
    robot.start_perception(model=small_network(tmp_path))
    robot.wait_for(lambda: "nobody publishes /image" in getattr(robot.camera()[0], "message", ""))
    good = frames(3)
    robot.feed(good, FLOW)  # the camera starts late
    robot.wait_for(lambda: robot.count("frames processed") == 3)

    def broken(**fields: object) -> Image:
        message = array_to_image(good[0], "bgr8", to_time(1000 * MS), "lens")
        for name, value in fields.items():
            setattr(message, name, value)
        return message

    truncated = broken()
    del truncated.data[100:]
    for reason, message in {
        "wrong step": broken(step=7),
        "unknown encoding": broken(encoding="cmyk8"),
        "zero size": broken(width=0, height=0, step=0),
        "truncated": truncated,
    }.items():
        robot.publish(message)
        status = robot.wait_for(lambda reason=reason: robot.count(f"drops: {reason}") == 1 and robot.camera()[0])
        assert status.level == status.WARN, reason
    robot.show(good[0], 3 * 40 * MS)
    robot.wait_for(lambda: robot.count("drops: repeated stamp") == 1)
    robot.feed(good, FLOW, start=1)  # back in time
    robot.wait_for(lambda: robot.count("resets: time jumped back") == 1)
    robot.feed(frames(2, 200, 140), FLOW, start=5)  # another resolution
    robot.wait_for(lambda: robot.count("resets: resolution changed") == 1)
    assert robot.messages[FLOW][-1].width == 200
    robot.feed(frames(2, 200, 140), FLOW, start=500)  # a gap
    robot.wait_for(lambda: robot.count("resets: gap") == 1)
    robot.wait_for(lambda: "no image on /image" in robot.camera()[0].message)  # it stops
    robot.feed(frames(2, 200, 140), FLOW, start=502)  # and goes on
    status = robot.wait_for(lambda: "no image on" not in robot.camera()[0].message and robot.camera()[0])
    assert status.message == "running" or "a frame takes up to" in status.message, "on a busy machine"
    assert robot.count("frames processed") == 3 + 3 + 2 + 2 + 2 and robot.count("drops") == 5


def test_every_best_effort_image_arrives_with_the_shipped_profile(robot: Robot) -> None:
    # A deep history: what is asked is whether the transport loses images, not whether this process is ever held up.
    qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=150, reliability=ReliabilityPolicy.BEST_EFFORT)
    robot.listen("/image", Image, qos)
    camera = robot.start(
        "video_publisher", source="synthetic", width=640, height=480, frames=150, rate=30.0, wait_for_subscribers=1
    )
    robot.wait_for(lambda: camera.poll() is not None, 60)
    robot.spin(0.5)
    assert camera.returncode == 0
    images = robot.messages["/image"]
    stamps = [to_nanoseconds(m.header.stamp) for m in images]
    gaps = [round((b - a) / MS) for a, b in itertools.pairwise(stamps)]
    assert len(images) == 150, f"milliseconds between images: {gaps}"
    assert {(m.width, m.height) for m in images} == {(640, 480)}
    assert stamps == sorted(stamps)


def state(robot: Robot) -> str:
    return robot.call(GetState, "/perception/get_state").current_state.label


def change(robot: Robot, transition: int) -> bool:
    return robot.call(ChangeState, "/perception/change_state", transition=Transition(id=transition)).success


def set_text(robot: Robot, name: str, text: str) -> str:
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text)
    response = robot.call(SetParameters, "/perception/set_parameters", parameters=[Parameter(name=name, value=value)])
    return response.results[0].reason if not response.results[0].successful else ""


def test_lifecycle(robot: Robot, tmp_path: Path) -> None:
    robot.listen(FLOW)
    robot.start("perception_node", autostart=False, model=str(tmp_path / "absent.safetensors"))
    assert state(robot) == "unconfigured"
    assert not change(robot, Transition.TRANSITION_CONFIGURE)
    status = robot.wait_for(lambda: robot.process()[0] and robot.process()[0].level == b"\2" and robot.process()[0])
    assert "absent.safetensors" in status.message
    assert set_text(robot, "model", str(small_network(tmp_path))) == ""
    for _ in range(2):  # configure, activate, deactivate, clean up, and all of it again
        assert change(robot, Transition.TRANSITION_CONFIGURE) and state(robot) == "inactive"
        assert "cannot change while the node is configured" in set_text(robot, "queue", "all")
        assert change(robot, Transition.TRANSITION_ACTIVATE) and state(robot) == "active"
        robot.spin(1.0)  # until the camera has found the new subscription
        before = len(robot.messages[FLOW])
        robot.feed(frames(2), FLOW)
        assert len(robot.messages[FLOW]) == before + 2
        assert change(robot, Transition.TRANSITION_DEACTIVATE)
        assert change(robot, Transition.TRANSITION_CLEANUP) and state(robot) == "unconfigured"
    assert change(robot, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN) and state(robot) == "finalized"


def test_services_and_parameters(robot: Robot, tmp_path: Path) -> None:
    robot.listen(FLOW)
    robot.start_perception(model=small_network(tmp_path))
    robot.feed(frames(2), FLOW)
    assert robot.call(Trigger, "/perception/reset").success
    robot.feed(frames(2), FLOW, start=3)
    robot.wait_for(lambda: robot.count("resets: requested") == 1)
    assert robot.call(SetBool, "/perception/enable", data=False).success
    robot.show(frames(1)[0], 5 * 40 * MS)
    robot.wait_for(lambda: robot.process()[1].get("state") == "disabled")
    assert robot.count("frames processed") == 4, "disabled, images are ignored"
    assert robot.call(SetBool, "/perception/enable", data=True).success
    robot.feed(frames(1), FLOW, start=6)
    robot.wait_for(lambda: robot.count("resets: disabled") == 1)

    def set_gap(seconds: float) -> bool:
        value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=seconds)
        parameters = [Parameter(name="max_gap", value=value)]
        return robot.call(SetParameters, "/perception/set_parameters", parameters=parameters).results[0].successful

    assert not set_gap(-1.0)
    assert set_gap(0.02)
    robot.feed(frames(1), FLOW, start=7)
    robot.wait_for(lambda: robot.count("resets: gap") == 1)
    described = robot.call(DescribeParameters, "/perception/describe_parameters", names=["max_gap"]).descriptors[0]
    assert "Seconds" in described.description and described.floating_point_range[0].from_value == 0.01


def test_two_cameras_share_the_network(robot: Robot, tmp_path: Path) -> None:
    for camera in ("front", "rear"):
        robot.listen(f"/perception/{camera}/flow")
    robot.start_perception(cameras="[front, rear]", model=small_network(tmp_path))
    for index, (front, rear) in enumerate(zip(frames(4), frames(4, 96, 64), strict=True), start=1):
        robot.show(front, index * 40 * MS, "front/image")
        robot.show(rear, index * 40 * MS, "rear/image")
        for camera in ("front", "rear"):
            robot.wait_for(lambda c=camera, i=index: len(robot.messages[f"/perception/{c}/flow"]) == i)
    assert robot.messages["/perception/rear/flow"][-1].width == 96
    robot.wait_for(lambda: robot.count("frames processed", "front") == robot.count("frames processed", "rear") == 4)


def test_latest_keeps_the_newest_and_all_keeps_every_frame(robot: Robot, tmp_path: Path) -> None:
    robot.listen(FLOW)
    robot.listen("/replay/perception/flow")
    robot.start_perception(processing_size="[640, 480]")
    robot.start("perception_node", ("__ns:=/replay",), queue="all", model=small_network(tmp_path))
    images = frames(12)
    for topic in ("image", "/replay/image"):
        for index, image in enumerate(images, start=1):
            robot.show(image, index * 40 * MS, topic)
            robot.spin(0.01)
    robot.wait_for(lambda: len(robot.messages["/replay/perception/flow"]) == 12, 60)
    stamps = [to_nanoseconds(m.header.stamp) for m in robot.messages["/replay/perception/flow"]]
    assert stamps == [index * 40 * MS for index in range(1, 13)]
    robot.wait_for(lambda: robot.messages[FLOW] and to_nanoseconds(robot.messages[FLOW][-1].header.stamp) == 480 * MS)
    robot.wait_for(lambda: robot.count("frames processed") + robot.count("drops: overtaken") == 12)
    assert robot.count("drops: overtaken") > 0 and robot.count("frames processed") == len(robot.messages[FLOW])
