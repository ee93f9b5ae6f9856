"""Nodes that measure something and print it as JSON."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable

from rclpy.node import Node
from rclpy.task import Future

from stvae_ros.nodes.startup import ros
from stvae_ros.nodes.stopping import Stop


class Probe(Node, ABC):
    """A node whose figures are complete when ``finished`` is done."""

    finished: Future

    @abstractmethod
    def figures(self) -> dict[str, object]:
        """The measured figures by name."""


def run_probe(make: Callable[[], Probe]) -> None:
    """Run a probe and print its figures, unless SIGINT or SIGTERM comes before it is finished."""
    with Stop() as stop, ros("probe"):
        probe = make()
        try:
            stop.spin(probe, probe.finished)
            if probe.finished.done():
                json.dump(probe.figures(), sys.stdout)
        finally:
            probe.destroy_node()
