"""Nodes of this package as processes of a command."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from stvae_ros.resources import profile_variable, share_directory


class ROSMissingError(RuntimeError):
    """ROS 2 is missing. The message gives the remedy."""


def ros_environment() -> dict[str, str]:
    """Environment for nodes on this machine only, with the shipped Fast DDS profile.

    ROS_DOMAIN_ID is kept if it is set. Otherwise the nodes get a domain of their own.

    Raises:
        ROSMissingError: rclpy is missing.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise ROSMissingError(
            "ROS 2 is missing: source a ROS 2 workspace, or install its wheels: pip install -e '.[ros]'"
        )
    return {
        "ROS_DOMAIN_ID": str(os.getpid() % 100 + 1),
        profile_variable(): str(share_directory() / "config" / "fastdds.xml"),
        **os.environ,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }


def module_of(executable: str) -> str:
    """Full name of the module that runs a node, by the name of its executable."""
    place = "perception.node" if executable == "perception_node" else f"tools.{executable}"
    return f"stvae_ros.nodes.{place}"


class Nodes:
    """A context in which nodes run. At its end, the running nodes are stopped by their process ids."""

    def __init__(self) -> None:
        self._environment = ros_environment()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Nodes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, executable: str, parameters: Mapping[str, Any], stdout: bool = False) -> subprocess.Popen[bytes]:
        """Start an executable of the package with parameters. With ``stdout`` the caller reads its output."""
        command = [sys.executable, "-m", module_of(executable), "--ros-args"]
        for name, value in parameters.items():
            # JSON is valid YAML. Its quotes keep a path of digits a string.
            command += ["-p", f"{name}:={json.dumps(value)}"]
        process = subprocess.Popen(
            command,
            env=self._environment,
            stdout=subprocess.PIPE if stdout else None,
            start_new_session=True,  # Ctrl-C reaches only this process, which then stops its nodes.
        )
        self._processes[executable] = process
        return process

    def figures(self, probe: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Wait for a node started with ``stdout`` and read its JSON. Raises RuntimeError if a node fails."""
        while probe.poll() is None:
            failed = self.failed()
            if failed is not None:
                raise RuntimeError(failed)
            time.sleep(0.1)
        assert probe.stdout is not None
        figures: dict[str, Any] = json.loads(probe.stdout.read())
        return figures

    def failed(self) -> str | None:
        """Message for the first node that has ended with an error; None if there is none."""
        for executable, process in self._processes.items():
            if process.poll() not in (None, 0):
                return f"{executable} ended with exit code {process.returncode}"
        return None
