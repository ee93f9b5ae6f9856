"""multi_camera.launch.py under launch_testing: two drivers beside one node."""

import os
import unittest

import pytest
from checkout import ROOT

pytest.importorskip("launch_testing", reason="the PyPI wheels have no launch: run with colcon test")

import launch_testing.actions
import launch_testing.asserts
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from robot import Robot

DOMAIN = os.getpid() % 90 + 5
LAUNCH_FILE = ROOT / "launch" / "multi_camera.launch.py"


@pytest.mark.launch_test
def generate_test_description() -> LaunchDescription:
    os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
    source = PythonLaunchDescriptionSource(str(LAUNCH_FILE))
    cameras = IncludeLaunchDescription(source, launch_arguments={"device": "cpu"}.items())
    return LaunchDescription([cameras, launch_testing.actions.ReadyToTest()])


class TestCameras(unittest.TestCase):
    def test_each_camera_has_its_own_flow(self) -> None:
        with Robot(DOMAIN) as robot:
            for camera in ("front", "rear"):
                robot.listen(f"/perception/{camera}/flow")
            for camera in ("front", "rear"):
                robot.wait_for(lambda camera=camera: len(robot.messages[f"/perception/{camera}/flow"]) >= 3, 90)
                flow = robot.messages[f"/perception/{camera}/flow"][-1]
                self.assertEqual((flow.header.frame_id, flow.width, flow.height), (camera, 320, 240))


@launch_testing.post_shutdown_test()
class TestShutdown(unittest.TestCase):
    def test_exit_codes(self, proc_info: object) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
