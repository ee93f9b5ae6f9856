"""Each `ros2 ...` of the documentation is run, in the words of its page and by a shell, where ROS 2 is installed.

The package must have been built: `colcon build`. Each `ros2 launch` starts the node and is stopped once that is active.
The others, in their order, are run beside one node and a camera with labels; those that never end are stopped once they
have printed what they are for.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TextIO

import pytest
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from belongings import lay_out
from documents import Command, commands
from robot import Robot

from stvae_ros.checkpoint import save
from stvae_ros.nn.registry import create_segmenter

INSTEAD = {
    "<name>": "rate",
    "demo.launch.py": "demo.launch.py frames:=12 rate:=3",
}
"""Words of a page, and what is given in their place."""
ENDLESS = {
    "ros2 topic hz": "average rate",
    "ros2 topic echo /diagnostics": "name: 'perception",
    "ros2 topic echo /segmentation": "sec:",
}
"""Commands that never end, and what they print."""
CANNOT_RUN = {"ros2 bag": "rosbag2 was not at hand to try it", "ros2 run stvae_ros perception_node": "needs TensorRT"}
"""Beginnings of commands, and why."""
LAST = "docs/troubleshooting.md"
"""The page that takes the node to other states and back, and gives it other cameras."""


def is_built() -> bool:
    try:
        return shutil.which("ros2") is not None and bool(get_package_prefix("stvae_ros"))
    except PackageNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not is_built(), reason="needs ros2, and this package built by colcon build")


def ros2_commands(beginning: str) -> list[Command]:
    """Those that are more than a name, once each, where it comes last; the blocks of `LAST` at the end."""
    found: dict[str, Command] = {}
    for command in sorted(commands(), key=lambda command: (command.page == LAST) * (1 + command.block)):
        if command.text.startswith(beginning) and len(command.text.split()) > 3:
            found.pop(command.text, None)
            found[command.text] = command
    return list(found.values())


LAUNCHES = ros2_commands("ros2 launch")
OTHERS = [command for command in ros2_commands("ros2 ") if command not in LAUNCHES]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader stands, with a robot's parameters and weights."""
    folder = tmp_path_factory.mktemp("home")
    lay_out(folder)
    (folder / "runs" / "mine").mkdir()
    shutil.copy(folder / "small.safetensors", folder / "runs" / "mine" / "weights.safetensors")
    segmenter = folder / "runs" / "segnet-flow" / "weights.safetensors"
    segmenter.parent.mkdir()
    size = {"processing_size": "[64, 48]"}
    save(segmenter, create_segmenter("segnet-basic"), "segnet-basic", metadata=size)
    parameters = f"    model: {folder}/small.safetensors\n    backend: onnxruntime\n"
    (folder / "robot.yaml").write_text(f"/**:\n  ros__parameters:\n{parameters}")
    return folder


@pytest.fixture
def robot(home: Path) -> Iterator[Robot]:
    with Robot() as robot:
        yield robot
        stop = ["ros2", "daemon", "stop"]
        subprocess.run(stop, env=environment(robot, home), capture_output=True, timeout=60, check=True)


def environment(robot: Robot, home: Path) -> dict[str, str]:
    given = {"HOME": str(home), "ROS_DOMAIN_ID": str(robot.domain), "ROS_SECURITY_KEYSTORE": str(home / "keystore")}
    return {**os.environ, **given, "PYTHONUNBUFFERED": "1"}


@cache
def has_verb(verb: str) -> bool:
    """Whether this installation has `ros2 VERB`; `ros2 security`, for one, is a package of its own."""
    return subprocess.run(["ros2", verb, "--help"], capture_output=True, timeout=60, check=False).returncode == 0


def start(command: Command, robot: Robot, home: Path, output: TextIO) -> subprocess.Popen[bytes]:
    text = command.text
    for word, given in INSTEAD.items():
        text = text.replace(word, given)
    return subprocess.Popen(
        ["bash", "-c", f"exec {text}"],
        cwd=home,
        env=environment(robot, home),
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )


def run(command: Command, robot: Robot, home: Path) -> str:
    """What it prints, once it has ended; see `ENDLESS`."""
    with tempfile.TemporaryFile("w+") as output:
        process = start(command, robot, home, output)

        def said() -> str:
            output.seek(0)
            return output.read()

        awaited = next((word for beginning, word in ENDLESS.items() if command.text.startswith(beginning)), None)
        if awaited is not None:
            robot.wait_for(lambda: awaited in said() or process.poll() is not None, 60)
            process.send_signal(signal.SIGINT)
        robot.wait_for(lambda: process.poll() is not None, 90)
        ended_well = process.returncode == 0 if awaited is None else awaited in said()
        assert ended_well and "fail" not in said().lower(), f"{command}: {said()}"
        return said()


def is_active(robot: Robot) -> bool:
    """Whether the node says so, in any namespace."""
    processes = (status for name, status in robot.diagnostics().items() if name.endswith("perception: process"))
    return any(pair.value == "active" for status in processes for pair in status.values)


@pytest.mark.parametrize("command", LAUNCHES, ids=str)
def test_launch(command: Command, robot: Robot, home: Path) -> None:
    with tempfile.TemporaryFile("w+") as output:
        process = start(command, robot, home, output)
        if "--show-args" not in command.text and "demo.launch.py" not in command.text:
            robot.wait_for(lambda: is_active(robot) or process.poll() is not None, 90)
            process.send_signal(signal.SIGINT)
        robot.wait_for(lambda: process.poll() is not None, 120)
        output.seek(0)
        assert process.returncode == 0, output.read()


@pytest.mark.timeout(600)
def test_others(robot: Robot, home: Path) -> None:
    robot.start("video_publisher", width=96, height=64, rate=10.0, label_rate=2.0)
    robot.start_perception(model=home / "small.safetensors", use_sim_time=True)
    nodes = Command("", "ros2 node list", True)
    while "/perception" not in run(nodes, robot, home):
        pass  # The first call starts a daemon, which has yet to find the node.
    missing = {}
    for command in OTHERS:
        verb = command.text.split()[1]
        if command.text.startswith(tuple(CANNOT_RUN)):
            continue
        if has_verb(verb):
            run(command, robot, home)
        else:
            missing[f"ros2 {verb}"] = command
    if missing:
        pytest.skip(f"the other commands ran; not installed here: {', '.join(missing)}")


@pytest.mark.parametrize("beginning", CANNOT_RUN)
def test_what_cannot_be_run(beginning: str) -> None:
    assert any(command.text.startswith(beginning) for command in OTHERS)
    pytest.skip(CANNOT_RUN[beginning])
