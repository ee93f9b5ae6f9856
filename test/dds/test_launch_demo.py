"""demo.launch.py under launch_testing: it ends by itself and leaves its files."""

import os
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

LAUNCH_FILE = ROOT / "launch" / "demo.launch.py"
OUTPUT = Path(tempfile.mkdtemp(prefix="stvae_demo_"))


@pytest.mark.launch_test
def generate_test_description() -> LaunchDescription:
    os.environ["ROS_DOMAIN_ID"] = str(os.getpid() % 90 + 4)
    source = PythonLaunchDescriptionSource(str(LAUNCH_FILE))
    arguments = {"frames": "24", "rate": "3", "namespace": "robot", "output": str(OUTPUT)}
    demo = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return LaunchDescription([demo, launch_testing.actions.ReadyToTest()])


class TestDemo(unittest.TestCase):
    def test_recorder_finishes(self, proc_info: object) -> None:
        proc_info.assertWaitForShutdown(process="demo_recorder", timeout=90)  # type: ignore[attr-defined]


@launch_testing.post_shutdown_test()
class TestFiles(unittest.TestCase):
    def test_files_and_exit_codes(self, proc_info: object) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
        self.assertEqual({p.name for p in OUTPUT.iterdir()}, {"demo.webm", "demo.png", "metrics.json"})
