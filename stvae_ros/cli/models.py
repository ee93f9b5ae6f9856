"""List the networks and the shipped weights."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from stvae_ros import zoo
from stvae_ros.evaluation.cost import step_cost
from stvae_ros.nn.interface import FramePredictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(320, 240),
        metavar=("WIDTH", "HEIGHT"),
        help="for FLOPs and state, of networks that take any size (default: 320 240)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a table. Raises ValueError for a size that a network cannot take."""
    width, height = arguments.size
    table = Table(title="networks, and what one step costs")
    for heading in ("name", "parameters", "frame", "GFLOP", "state (MB)", "weights", "validation"):
        table.add_column(heading, justify="left" if heading in ("name", "weights", "validation") else "right")
    networks = {name: zoo.create(name) for name in zoo.names()}
    refused = {name: error for name, network in networks.items() if (error := _refusal(network, width, height))}
    if len(refused) == sum(network.frame_size is None for network in networks.values()):
        raise ValueError("; ".join(dict.fromkeys(refused.values())))
    for name, network in networks.items():
        if name in refused:
            continue
        rows, columns = network.frame_size or (height, width)
        cost = step_cost(network, columns, rows)
        weights, figures = _shipped(name)
        table.add_row(
            name,
            f"{cost.parameters:,}",
            f"{columns}x{rows}",
            f"{cost.flops / 1e9:.2f}",
            f"{cost.state_bytes / 1e6:.2f}",
            weights,
            ", ".join(f"{key.removeprefix('val/')} {value:.2f}" for key, value in figures.items()),
        )
    Console().print(table)
    Console().print(_segmenters(width, height))
    others = _others([*networks, *zoo.segmenter_names()])
    if others.row_count:
        Console().print(others)
    for name, reason in refused.items():
        Console().print(f"{name} is left out: {reason}")
    return 0


def _segmenters(width: int, height: int) -> Table:
    table = Table(title=f"segmenters, and what one step costs at {width}x{height}")
    for heading in ("name", "classes", "parameters", "GFLOP", "state (MB)"):
        table.add_column(heading, justify="left" if heading == "name" else "right")
    for name in zoo.segmenter_names():
        segmenter = zoo.create_segmenter(name).eval()
        cost = step_cost(segmenter, width, height)
        figures = (f"{cost.parameters:,}", f"{cost.flops / 1e9:.2f}", f"{cost.state_bytes / 1e6:.2f}")
        table.add_row(name, str(segmenter.classes), *figures)
    return table


def _others(names: Sequence[str]) -> Table:
    """Shipped weights that are not called after their network, ``names`` being those of all networks."""
    table = Table(title="further weights")
    for heading in ("name", "network", "weights", "input", "validation"):
        table.add_column(heading)
    for name in zoo.shipped_names():
        if name not in names:
            weights, figures = _shipped(name)
            metadata = zoo.read_metadata(zoo.find(name))
            validation = ", ".join(f"{key.removeprefix('val/')} {value:.2f}" for key, value in figures.items())
            table.add_row(name, metadata["architecture"], weights, metadata["input"], validation)
    return table


def _refusal(network: FramePredictor, width: int, height: int) -> str | None:
    """Why a network for frames of any size does not take this one, None if it does."""
    try:
        network.check_size(*(network.frame_size or (height, width)))
    except ValueError as error:
        return str(error)
    return None


def _shipped(name: str) -> tuple[str, dict[str, float]]:
    """Hash and validation figures of the weights that come with the package, or what there is instead."""
    try:
        path = zoo.find(name)
    except zoo.WeightsError:
        return "not shipped", {}
    try:
        return f"sha256:{zoo.file_hash(path)}", json.loads(zoo.read_metadata(path).get("figures", "{}"))
    except zoo.WeightsError as error:
        return str(error), {}
