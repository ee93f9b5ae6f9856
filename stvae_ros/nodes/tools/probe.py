"""Nodes that measure something for a while and print it as JSON."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.utilities import try_shutdown

from stvae_ros.nodes.stopping import Stop


class Probe(Node, ABC):
    """A node with figures, which are complete once ``finished`` is done."""

    finished: Future

    @abstractmethod
    def figures(self) -> dict[str, object]:
        """What it measured."""


def run_probe(make: Callable[[], Probe]) -> None:
    """Spin the `Probe` that ``make`` gives and print its figures, if it is done before SIGINT or SIGTERM."""
    with Stop() as stop:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        probe = make()
        try:
            stop.spin(probe, probe.finished)
            if probe.finished.done():
                json.dump(probe.figures(), sys.stdout)
        finally:
            probe.destroy_node()
            try_shutdown()
