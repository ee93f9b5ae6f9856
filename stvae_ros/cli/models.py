"""List the networks and the shipped weights."""

from __future__ import annotations

import argparse
import json

import torch
from rich.console import Console
from rich.table import Table

from stvae_ros.checkpoint import Checkpoint, CheckpointError, find, shipped_names
from stvae_ros.evaluation.cost import step_cost
from stvae_ros.nn.interface import FramePredictor
from stvae_ros.nn.registry import create, create_segmenter, names, segmenter_names


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
    """Print the tables. Raises ValueError for a size that a network cannot take."""
    width, height = arguments.size
    table = _table("networks, and what one step costs", "name", "parameters", "frame", "GFLOP", "state (MB)")
    with torch.device("meta"):  # Shapes are counted, not numbers.
        networks = {name: create(name) for name in names()}
    refused = {name: error for name, network in networks.items() if (error := _refusal(network, width, height))}
    if len(refused) == sum(network.frame_size is None for network in networks.values()):
        raise ValueError("; ".join(dict.fromkeys(refused.values())))
    for name, network in networks.items():
        if name in refused:
            continue
        rows, columns = network.frame_size or (height, width)
        cost = step_cost(network, columns, rows)
        figures = (f"{cost.flops / 1e9:.2f}", f"{cost.state_bytes / 1e6:.2f}")
        table.add_row(name, f"{cost.parameters:,}", f"{columns}x{rows}", *figures)
    for each in (table, _segmenters(width, height), _shipped()):
        Console().print(each)
    for name, reason in refused.items():
        Console().print(f"{name} is left out: {reason}")
    return 0


def _table(title: str, name: str, *headings: str) -> Table:
    """A table whose first column is never cut, however narrow the terminal."""
    table = Table(title=title)
    table.add_column(name, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _segmenters(width: int, height: int) -> Table:
    title = f"segmenters, and what one step costs at {width}x{height}"
    table = _table(title, "name", "classes", "parameters", "GFLOP", "state (MB)")
    for name in segmenter_names():
        with torch.device("meta"):
            segmenter = create_segmenter(name).eval()
        cost = step_cost(segmenter, width, height)
        figures = (f"{cost.parameters:,}", f"{cost.flops / 1e9:.2f}", f"{cost.state_bytes / 1e6:.2f}")
        table.add_row(name, str(segmenter.classes), *figures)
    return table


def _shipped() -> Table:
    """The weights that come with the package, with their validation figures."""
    title = "shipped weights, validated on data of their own: PSNR, that of copying (dB), EPE (px)"
    table = _table(title, "name", "sees", "PSNR", "copying", "EPE", "sha256")
    table.columns[-1].no_wrap = True
    for name in shipped_names():
        try:
            checkpoint = Checkpoint.open(find(name))
            metadata, sha256 = checkpoint.metadata, checkpoint.hash
        except CheckpointError as error:
            table.add_row(name, str(error))
            continue
        figures = json.loads(metadata.get("figures", "{}"))
        known = (figures.get(f"val/{key}") for key in ("psnr", "psnr_copy", "epe"))
        sees = metadata["input"].split(",")[0]
        table.add_row(name, sees, *("-" if value is None else f"{value:.2f}" for value in known), sha256)
    return table


def _refusal(network: FramePredictor, width: int, height: int) -> str | None:
    """Why a network for frames of any size does not take this one, None if it does."""
    try:
        network.check_size(*(network.frame_size or (height, width)))
    except ValueError as error:
        return str(error)
    return None
