"""Measure a node with several cameras over DDS: frames per second, latency, and what it says when it is too slow."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from stvae_ros.cli.processes import Nodes
from stvae_ros.cli.tables import figures_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--model", default="stvae-rt-m", help="a name or a path (default: %(default)s)")
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 4, 8], help="default: 1 2 4 8")
    parser.add_argument("--rate", type=float, default=15.0, help="frames per second of each (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=[320, 240], metavar=("WIDTH", "HEIGHT"), help="default: 320 240"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each count (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--num-threads", type=int, default=0, help="parameter of the node (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Print the table. Raises ValueError for numbers that cannot be used, RuntimeError where a node fails."""
    if min(arguments.cameras) < 1 or arguments.rate <= 0 or arguments.seconds <= 0:
        raise ValueError("--cameras, --rate and --seconds must be positive")
    console = Console()
    width, height = arguments.size
    title = f"{arguments.model}, cameras of {width}x{height} at {arguments.rate:g} Hz each, {arguments.seconds:g} s"
    headings = ("cameras", "shown/s", "answered/s", "least of a camera", "median (ms)", "99th percentile (ms)")
    table = figures_table(title, headings)
    said = {}
    with console.status("starting") as status:
        for count in arguments.cameras:
            status.update(f"{count} cameras")
            figures = _measure(arguments, count)
            names = ("shown", "answered", "least", "median", "99")
            table.add_row(str(count), *(f"{figures[name]:.1f}" for name in names))
            said[count] = figures["said"]
    console.print(table)
    for count, messages in said.items():
        for camera, message in list(messages.items())[:1]:
            console.print(f"{count} cameras, {len(messages)} not well; of {camera}: {message}")
    return 0


def _measure(arguments: argparse.Namespace, count: int) -> dict[str, Any]:
    options = {name: getattr(arguments, name) for name in ("model", "device", "precision", "num_threads")}
    shown = {"cameras": count, "rate": arguments.rate, "seconds": arguments.seconds}
    size = {"width": arguments.size[0], "height": arguments.size[1]}
    with Nodes() as nodes:
        nodes.start("perception_node", {"cameras": [f"camera{index}" for index in range(count)], **options})
        probe = nodes.start("cameras_probe", {**shown, **size}, stdout=True)
        return nodes.figures(probe)
