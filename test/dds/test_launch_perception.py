"""perception.launch.py under launch_testing: start, topics, parameters, a looping bag, respawn, shutdown."""

import os
import signal
import tempfile
import unittest
from pathlib import Path

import pytest
from checkout import ROOT

pytest.importorskip("launch_testing", reason="the PyPI wheels have no launch: run with colcon test")

import launch_testing.actions
import launch_testing.asserts
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from robot import MS, Robot

from stvae_ros.data.scenes.shapes import SyntheticScene

DOMAIN = os.getpid() % 90 + 3
LAUNCH_FILE = ROOT / "launch" / "perception.launch.py"
FLOW = "/robot/perception/flow"
PARAMS_FILE = Path(tempfile.mkdtemp(prefix="stvae_launch_")) / "robot.yaml"


@pytest.mark.launch_test
@launch_testing.parametrize("autostart", ["", "false"])
def generate_test_description(autostart: str) -> LaunchDescription:
    os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
    PARAMS_FILE.write_text("/**:\n  ros__parameters:\n    queue: all\n    max_gap: 0.5\n    device: cuda:7\n")
    arguments = {
        "namespace": "robot",
        "params_file": str(PARAMS_FILE),
        "image": "front/image",
        "device": "cpu",
        "autostart": autostart,
        "respawn": "true",
        "respawn_delay": "0.1",
    }
    source = PythonLaunchDescriptionSource(str(LAUNCH_FILE))
    perception = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return LaunchDescription([perception, launch_testing.actions.ReadyToTest()])


def state(robot: Robot) -> str:
    return robot.call(GetState, "/robot/perception/get_state").current_state.label


class TestPerception(unittest.TestCase):
    def test_node(self, autostart: str, proc_info: object) -> None:
        with Robot(DOMAIN) as robot:
            if autostart == "false":
                self.assertEqual(state(robot), "unconfigured")
                return
            robot.wait_for(lambda: state(robot) == "active", 60)
            names = ["queue", "max_gap", "device", "model"]
            values = robot.call(GetParameters, "/robot/perception/get_parameters", names=names).values
            self.assertEqual([v.string_value for v in values], ["all", "", "cpu", "stvae-rt-m"])
            self.assertEqual(values[1].double_value, 0.5)

            robot.listen(FLOW)
            scene = SyntheticScene(0, 96, 64)
            stamps = [40, 80, 120, 40, 80]  # A bag that starts again: stamps jump back.
            for index, stamp in enumerate(stamps):
                robot.show(scene.frame(index), stamp * MS, "/robot/front/image")
                robot.wait_for(lambda index=index: len(robot.messages[FLOW]) == index + 1)
            seen = [message.header.stamp.nanosec // MS for message in robot.messages[FLOW]]
            self.assertEqual(seen, stamps)
            last = robot.messages[FLOW][-1]
            self.assertEqual((last.width, last.height, last.encoding), (96, 64, "32FC2"))
            name = "robot/perception: camera"
            robot.wait_for(lambda: robot._status(name)[1].get("frames processed") == "5")
            self.assertEqual(robot._status(name)[1]["resets: time jumped back"], "1")

        (process,) = proc_info.processes()  # type: ignore[attr-defined]
        killed = process.process_details["pid"]
        os.kill(killed, signal.SIGKILL)
        with Robot(DOMAIN) as robot:
            robot.wait_for(lambda: process.process_details and process.process_details["pid"] != killed)
            robot.wait_for(lambda: state(robot) == "active", 60)


@launch_testing.post_shutdown_test()
class TestShutdown(unittest.TestCase):
    def test_exit_code(self, proc_info: object) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
