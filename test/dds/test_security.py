"""The SROS 2 policy allows what the running node does, and nothing else."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import pytest
from checkout import ROOT
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.parameter import Parameter
from robot import Robot, new_domain, small_network
from std_srvs.srv import Trigger

from stvae_ros.data.scenes.shapes import SyntheticScene

POLICY = ROOT / "config" / "sros2" / "perception.policy.xml"
Graph = dict[tuple[str, str], set[str]]


def policy() -> Graph:
    """Full names by what is allowed, as in ("topics", "publish")."""
    allowed: Graph = {}
    profile = ET.parse(POLICY).find("enclaves/enclave/profiles/profile")
    assert profile is not None and (profile.get("ns"), profile.get("node")) == ("/", "perception")
    for group in profile:
        ((rule, qualifier),) = group.attrib.items()
        assert qualifier == "ALLOW"
        names = [(element.text or "").replace("~", "/perception") for element in group]
        assert len(set(names)) == len(names)
        allowed[group.tag, rule] = {name if name.startswith("/") else f"/{name}" for name in names}
    return allowed


def graph(robot: Robot) -> Graph:
    """What the node really has, as the ROS graph tells it."""
    ask = {
        ("topics", "publish"): robot.node.get_publisher_names_and_types_by_node,
        ("topics", "subscribe"): robot.node.get_subscriber_names_and_types_by_node,
        ("services", "reply"): robot.node.get_service_names_and_types_by_node,
        ("services", "request"): robot.node.get_client_names_and_types_by_node,
    }
    return {kind: {name for name, _ in names("perception", "/")} for kind, names in ask.items()}


def activate(robot: Robot, transport: str) -> None:
    """Configure and activate the node with an image transport and simulated time."""
    parameters = [Parameter("image_transport", value=transport), Parameter("use_sim_time", value=True)]
    messages = [parameter.to_parameter_msg() for parameter in parameters]
    robot.call(SetParameters, "/perception/set_parameters", parameters=messages)
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        robot.call(ChangeState, "/perception/change_state", transition=Transition(id=transition))
    state = robot.call(GetState, "/perception/get_state").current_state
    assert state.label == "active"


def test_policy_allows_exactly_what_the_node_does() -> None:
    with Robot() as robot:
        robot.start("perception_node", autostart=False, num_threads=2, model="stvae-rt-s")
        activate(robot, "raw")
        robot.wait_for(lambda: "/image" in graph(robot)["topics", "subscribe"])
        seen = graph(robot)
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
            robot.call(ChangeState, "/perception/change_state", transition=Transition(id=transition))
        activate(robot, "compressed")
        robot.wait_for(lambda: "/image/compressed" in graph(robot)["topics", "subscribe"])
        seen = {kind: seen[kind] | names for kind, names in graph(robot).items()}
    if find_spec("vision_msgs") is None:
        seen["topics", "publish"] |= {
            "/perception/label_info",
            "/perception/detections",
            "/perception/detections_color",
        }
        seen["topics", "subscribe"].add("/detections")
    assert seen.pop(("services", "request")) == set()
    assert policy() == seen, f"{POLICY.name} must be changed with the topics and services of the node"


@pytest.fixture
def keystore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enclaves /perception, with the policy, and /robot, which may do anything, both for one domain."""
    if find_spec("sros2") is None:
        pytest.skip("needs sros2, which comes with ROS 2, not from PyPI")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(new_domain()))
    verbs = ("create_keystore",), ("create_enclave", "/perception"), ("create_permission", "/perception", POLICY)
    for verb, *arguments in (*verbs, ("create_enclave", "/robot")):
        subprocess.run(["ros2", "security", verb, tmp_path / "keys", *arguments], check=True, timeout=60)
    return tmp_path / "keys"


def test_tools_make_permissions_of_it(keystore: Path) -> None:
    """Where the sros2 tools are installed they take the policy and sign what they make of it."""
    signed = (keystore / "enclaves" / "perception" / "permissions.p7s").read_text()
    for topic in ("rt/image", "rt/perception/flow", "rt/diagnostics", "rr/perception/resetReply"):
        assert f"<topic>{topic}</topic>" in signed
    assert "<default>DENY</default>" in signed


def test_a_robot_with_security(keystore: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With encryption and the policy in force the node works; it gets no topic that the policy lacks."""
    domain = int(os.environ["ROS_DOMAIN_ID"])
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    monkeypatch.setenv("ROS_SECURITY_STRATEGY", "Enforce")
    monkeypatch.setenv("ROS_SECURITY_KEYSTORE", str(keystore))
    monkeypatch.setenv("ROS_SECURITY_ENCLAVE_OVERRIDE", "/robot")
    try:
        Robot(domain).__enter__().__exit__(None, None, None)
    except rclpy_implementation.RCLError as error:
        pytest.skip(f"this middleware has no security: {error}")
    model, images = small_network(tmp_path), [SyntheticScene(1, 96, 64).frame(t) for t in range(3)]
    with Robot(domain) as robot:
        monkeypatch.setenv("ROS_SECURITY_ENCLAVE_OVERRIDE", "/perception")
        robot.listen("/perception/flow")
        robot.start_perception(model=model, num_threads=1)
        robot.feed(images, "/perception/flow")
        assert robot.call(Trigger, "/perception/reset").success
        monkeypatch.setenv("ROS_SECURITY_ENABLE", "false")
        robot.start("video_publisher", width=96, height=64)
        robot.spin(8)
        monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
        assert robot.count("frames received") == len(images), "who has no keys is not heard"
    monkeypatch.setenv("ROS_SECURITY_ENCLAVE_OVERRIDE", "/robot")
    with Robot(domain) as robot:
        monkeypatch.setenv("ROS_SECURITY_ENCLAVE_OVERRIDE", "/perception")
        robot.start("perception_node", remap=("image:=/secret/image",), model=model, num_threads=1)
        robot.wait_for(lambda: robot.process()[0] and "activate failed" in robot.process()[0].message)
