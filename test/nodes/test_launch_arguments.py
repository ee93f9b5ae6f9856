"""Arguments of the launch files: described, checked, and silent where the parameter file shall speak."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from checkout import ROOT

pytest.importorskip("launch_ros", reason="the PyPI wheels have no launch: run with colcon test")

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch_ros.actions import Node
from launch_ros.utilities import evaluate_parameters

from stvae_ros.nodes.perception.parameters import PARAMETERS

FOLDER = ROOT / "launch"
PARAMS_FILE = FOLDER.parent / "config" / "perception.yaml"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def node(**given: str) -> tuple[Node, LaunchContext]:
    """The node that perception.launch.py would start with these arguments."""
    perception, context = load("perception"), LaunchContext()
    context.launch_configurations.update(given | {"params_file": given.get("params_file", str(PARAMS_FILE))})
    for entity in perception.generate_launch_description().entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
    return perception.start(context)[0], context


def parameters(**given: str) -> dict[str, Any]:
    """What the launch file sets beside the parameter file."""
    action, context = node(**given)
    file, values = evaluate_parameters(context, action._Node__parameters)
    assert Path(file) == PARAMS_FILE or Path(str(file.param_file)) == PARAMS_FILE
    return dict(values)


def topics(**given: str) -> dict[str, str]:
    """The remapping rules."""
    action, context = node(**given)
    return {
        "".join(part.perform(context) for part in old): "".join(part.perform(context) for part in new)
        for old, new in action._Node__remappings
    }


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.launch.py")), ids=lambda path: path.name)
def test_every_argument_is_described(path: Path) -> None:
    arguments = load(path.name.removesuffix(".launch.py")).generate_launch_description().get_launch_arguments()
    for argument in arguments:
        assert argument.description != "no description given", argument.name


def test_parameters_that_are_not_given_are_left_to_the_file() -> None:
    assert parameters() == {}
    given = parameters(device="cpu", queue="all", cameras="front, rear", autostart="False", model="7")
    assert list(given.pop("cameras")) == ["front", "rear"]
    assert given == {"device": "cpu", "queue": "all", "autostart": False, "model": "7"}
    assert list(parameters(cameras="[front]")["cameras"]) == ["front"]
    first = parameters(processing_size="320, 240", horizon="2", precision="bf16", num_threads="3", lazy="true")
    assert list(first.pop("processing_size")) == [320, 240]
    assert first == {"horizon": 2, "precision": "bf16", "num_threads": 3, "lazy": True}
    assert list(parameters(processing_size="[640, 480]")["processing_size"]) == [640, 480]


def test_arguments_and_parameters_of_the_node_agree() -> None:
    perception = load("perception")
    kinds = {spec.name: type(spec.default) for spec in PARAMETERS} | {"use_sim_time": bool}
    choices = {spec.name: spec.choices for spec in PARAMETERS}
    for name, (kind, _) in perception.PARAMETERS.items():
        assert kinds[name] is kind
        if name in perception.CHOICES:
            assert perception.CHOICES[name] == ("", *choices[name])


def test_topics_of_one_camera_and_of_several() -> None:
    assert topics(image="/eye/image_raw") == {
        "image": "/eye/image_raw",
        "image/compressed": "/eye/image_raw/compressed",
        "segmentation": "segmentation",
        "detections": "detections",
    }
    several = topics(image="image_raw", cameras="front,rear")
    assert len(several) == 8
    assert several["rear/image"] == "rear/image_raw"
    assert several["front/image/compressed"] == "front/image_raw/compressed"


def test_log_level_and_enclave_are_handed_on() -> None:
    def command(**given: str) -> str:
        action, _ = node(**given)
        return " ".join(getattr(part, "text", "") for word in action.cmd for part in word)

    assert "--ros-args --log-level debug " in command(log_level="debug")
    assert " --enclave /perception " in command(enclave="/perception")
    assert "--enclave" not in command()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"autostart": "maybe"}, "autostart: 'maybe' is neither true nor false"),
        ({"respawn": "often"}, "respawn: 'often' is neither"),
        ({"use_respawn": "often"}, "use_respawn: 'often' is neither"),
        ({"queue": "some"}, "queue"),
        ({"horizon": "two"}, "horizon: 'two' is not a whole number"),
        ({"processing_size": "320x240"}, "processing_size: '320x240' is not a whole number"),
        ({"lazy": "1"}, "lazy: '1' is neither true nor false"),
        ({"params_file": "/no/such.yaml"}, "there is no file /no/such.yaml"),
        ({"cameras": "front,rear", "image": "/camera/image"}, "below each camera"),
        ({"cameras": "[]"}, "cameras: .* is an empty list"),
    ],
)
def test_wrong_arguments_are_refused_by_name(given: dict[str, str], says: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=says):
        node(**given)


def test_respawn_has_two_names() -> None:
    for given, expected in (({}, False), ({"respawn": "true"}, True), ({"use_respawn": "True"}, True)):
        action, _ = node(**given)
        assert action._ExecuteLocal__respawn is expected


def test_the_example_of_several_cameras_hands_its_topic_to_driver_and_node() -> None:
    context, topics = LaunchContext(), []
    context.launch_configurations["image"] = "foo"
    for entity in load("multi_camera").generate_launch_description().entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
        elif isinstance(entity, IncludeLaunchDescription):
            topics.append(dict(entity.launch_arguments)["image"].perform(context))
        else:
            (driver,) = (action for action in entity._GroupAction__actions if isinstance(action, Node))
            topics += ["".join(part.perform(context) for part in new) for _, new in driver._Node__remappings]
    assert topics == ["foo", "foo", "foo"]


def demo(**given: str) -> dict[str, dict[str, Any]]:
    """What demo.launch.py hands to its nodes, by executable, and to perception.launch.py."""
    file, context = load("demo"), LaunchContext()
    context.launch_configurations.update({name: default for name, (default, _) in file.ARGUMENTS.items()} | given)
    handed = {}
    for action in file.start(context):
        if isinstance(action, Node):
            (handed[action.node_executable],) = evaluate_parameters(context, action._Node__parameters)
        elif isinstance(action, IncludeLaunchDescription):
            handed["perception"] = dict(action.launch_arguments)
    return handed


def test_demo_of_frames_and_of_events() -> None:
    frames, scene, recording = demo(), demo(input="events"), demo(input="events", video="a.aedat4", model="mine")
    assert frames["perception"] == {"model": "stvae-rt-m", "event_source": ""}
    assert scene["perception"] == {"model": "stvae-rt-s-events", "event_source": ""}
    assert recording["perception"] == {"model": "mine", "event_source": "images"}
    assert [shown["demo_recorder"]["input"] for shown in (frames, scene)] == ["frames", "events"]
    assert [shown["video_publisher"]["label_rate"] for shown in (frames, scene)] == [2.0, 0.0]
    assert recording["video_publisher"]["source"] == "a.aedat4"
    with pytest.raises(ValueError, match=r"a\.aedat4 holds events: add input:=events"):
        demo(video="a.aedat4")
