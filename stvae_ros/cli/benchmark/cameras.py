"""Measure a node with several cameras over DDS: frame rates, latency, and its diagnostics when it is too slow."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from stvae_ros.cli.processes import Nodes
from stvae_ros.cli.tables import Cell, Figure, Table, add_format_option, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--model", default="stvae-rt-m", help="a name or a path (default: %(default)s)")
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 4, 8], help="default: 1 2 4 8")
    parser.add_argument("--rate", type=float, default=15.0, help="of each camera, in Hz (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=[320, 240], metavar=("WIDTH", "HEIGHT"), help="default: 320 240"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="for each number of cameras (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--num-threads", type=int, default=0, help="parameter of the node (default: %(default)s)")
    add_format_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table. Raises ValueError for numbers that cannot be used, RuntimeError if a node fails."""
    if min(arguments.cameras) < 1 or arguments.rate <= 0 or arguments.seconds <= 0:
        raise ValueError("--cameras, --rate and --seconds must be positive")
    console = Console(stderr=True)
    width, height = arguments.size
    title = f"{arguments.model}, cameras of {width}x{height} at {arguments.rate:g} Hz each, {arguments.seconds:g} s"
    headings = ("cameras", "shown/s", "answered/s", "least of one camera", "median (ms)", "99th percentile (ms)")
    lines: list[list[Cell]] = []
    problems = {}
    with console.status("starting") as status:
        for count in arguments.cameras:
            status.update(f"{count} cameras")
            figures = _measure(arguments, count)
            names = ("shown", "answered", "least", "median", "99")
            lines.append([str(count), *(Figure(figures[name], ".1f") for name in names)])
            problems[count] = figures["said"]
    show([Table(title, headings, lines)], arguments.format)
    for count, messages in problems.items():
        for camera, message in list(messages.items())[:1]:
            console.print(f"{count} cameras, {len(messages)} with a problem; {camera}: {message}")
    return 0


def _measure(arguments: argparse.Namespace, count: int) -> dict[str, Any]:
    options = {name: getattr(arguments, name) for name in ("model", "device", "precision", "num_threads")}
    shown = {"cameras": count, "rate": arguments.rate, "seconds": arguments.seconds}
    size = {"width": arguments.size[0], "height": arguments.size[1]}
    with Nodes() as nodes:
        nodes.start("perception_node", {"cameras": [f"camera{index}" for index in range(count)], **options})
        probe = nodes.start("cameras_probe", {**shown, **size}, stdout=True)
        return nodes.figures(probe)
