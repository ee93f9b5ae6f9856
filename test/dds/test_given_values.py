"""Values that a user gave and the node cannot use, over DDS: each is named with the reason in log and /diagnostics."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from robot import Robot, small_network

from stvae_ros.cli.processes import module_of

NO_NAME = "which is no name of a camera: use letters, digits and _, no digit first, and / only between names"


@pytest.mark.parametrize(
    "given",
    [
        {
            "cameras": ('["front cam"]', f"cameras = ['front cam'] has 'front cam', {NO_NAME}"),
            "processing_size": ("[]", "processing_size = [] must be [width, height], each at least 16, or [0, 0]"),
            "max_gap": ("2", "max_gap = 2 is of type integer, but the parameter is of type double: write 2.0"),
            "horizon": ("9", "horizon = 9 is outside 1 to 5"),
            "autostart": ("1", "autostart = 1 is of type integer, but the parameter is of type bool"),
            "device": ("CPU", "device = 'CPU' is not one: use auto, cpu or cuda:N"),
            "qos_overrides./image.subscription.depth": ('"10"', "depth = '10' must be an integer, 0 or more"),
        },
        {
            "cameras": ('["/front", "rear/"]', f"cameras = ['/front', 'rear/'] has '/front', {NO_NAME}"),
            "processing_size": ("[320]", "processing_size = [320] must be [width, height]"),
        },
        {"cameras": ("[]", "cameras = [] is empty: give at least one name")},
    ],
)
def test_each_value_is_named_in_log_and_diagnostics(tmp_path: Path, given: dict[str, tuple[str, str]]) -> None:
    with Robot() as robot:
        with (tmp_path / "log").open("w") as log:
            robot.start("perception_node", output=log, **{name: value for name, (value, _) in given.items()})
        status = robot.wait_for(lambda: robot.process()[0], 60)
        log_text = (tmp_path / "log").read_text()
        assert status.level == b"\2" and "\n" not in status.message and "Traceback" not in log_text
        assert robot.process()[1]["state"] == "unconfigured"
        for _, sentence in given.values():
            assert sentence in status.message and log_text.count(sentence) == 1


def test_a_corrected_value_is_used(tmp_path: Path) -> None:
    with Robot() as robot:
        robot.start("perception_node", model=small_network(tmp_path), num_threads=1, horizon=9, autostart=False)
        robot.wait_for(lambda: robot.process()[0] and "horizon = 9 is outside 1 to 5" in robot.process()[0].message, 60)
        assert "is not one: use auto" in robot.set_text("device", "banana"), "refused while unconfigured, too"
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=2)
        robot.call(SetParameters, "/perception/set_parameters", parameters=[Parameter(name="horizon", value=value)])
        configure = Transition(id=Transition.TRANSITION_CONFIGURE)
        assert robot.call(ChangeState, "/perception/change_state", transition=configure).success
        status = robot.wait_for(lambda: robot.process()[1].get("state") == "inactive" and robot.process()[0])
        assert status.message == "inactive: not running; `ros2 lifecycle set /perception activate`"
        shutdown = Transition(id=Transition.TRANSITION_INACTIVE_SHUTDOWN)
        assert robot.call(ChangeState, "/perception/change_state", transition=shutdown).success
        status = robot.wait_for(lambda: robot.process()[1].get("state") == "finalized" and robot.process()[0])
        assert status.message.startswith("finalized: not running; it was shut down for good")


def test_ignored_parameters_are_warned_of(tmp_path: Path) -> None:
    wrong = {"max_gapp": 2.0, "qos_overrides./perception/flwo.publisher.depth": 3}
    with Robot() as robot:
        with (tmp_path / "log").open("w") as log:
            robot.start_perception(output=log, model=small_network(tmp_path), num_threads=1, **wrong)
        status = robot.process()[0]
        for sentence in (
            "perception has no parameter max_gapp, and ignores it; did you mean max_gap?",
            "did you mean qos_overrides./perception/flow.publisher.depth?",
        ):
            assert status.level == b"\1" and sentence in status.message
            assert (tmp_path / "log").read_text().count(sentence) == 1


@pytest.mark.parametrize("executable", ["perception_node", "video_publisher"])
def test_arguments_that_ros_refuses_end_the_process_with_one_sentence(tmp_path: Path, executable: str) -> None:
    command = [sys.executable, "-m", module_of(executable), "--ros-args", "--params-file", str(tmp_path / "no.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"{executable}: the parameter file '{tmp_path}/no.yaml' does not exist"
    assert "Traceback" not in done.stderr
