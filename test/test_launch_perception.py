"""perception.launch.py under launch_testing, with autostart and without."""

import os
import unittest
from pathlib import Path

import pytest

pytest.importorskip("launch_testing", reason="the PyPI wheels have no launch: run with colcon test")

import launch_testing.actions
import launch_testing.asserts
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from lifecycle_msgs.srv import GetState
from robot import MS, Robot

from stvae_ros.data.synthetic import SyntheticScene

DOMAIN = os.getpid() % 90 + 3
LAUNCH_FILE = Path(__file__).resolve().parent.parent / "launch" / "perception.launch.py"


@pytest.mark.launch_test
@launch_testing.parametrize("autostart", ["true", "false"])
def generate_test_description(autostart: str) -> LaunchDescription:
    os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
    arguments = {"namespace": "robot", "image": "front/image", "autostart": autostart, "device": "cpu"}
    source = PythonLaunchDescriptionSource(str(LAUNCH_FILE))
    perception = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return LaunchDescription([perception, launch_testing.actions.ReadyToTest()])


class TestPerception(unittest.TestCase):
    def test_node(self, autostart: str) -> None:
        with Robot(DOMAIN) as robot:

            def state() -> str:
                return robot.call(GetState, "/robot/perception/get_state").current_state.label

            if autostart == "false":
                self.assertEqual(state(), "unconfigured")
                return
            robot.wait_for(lambda: state() == "active", 60)
            robot.listen("/robot/perception/flow")
            scene = SyntheticScene(0, 96, 64)
            for index in range(1, 4):
                robot.show(scene.frame(index), index * 40 * MS, "/robot/front/image")
                robot.wait_for(lambda index=index: len(robot.messages["/robot/perception/flow"]) == index)
            last = robot.messages["/robot/perception/flow"][-1]
            self.assertEqual((last.width, last.height, last.encoding), (96, 64, "32FC2"))


@launch_testing.post_shutdown_test()
class TestShutdown(unittest.TestCase):
    def test_exit_code(self, proc_info: object) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
