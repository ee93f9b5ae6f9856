"""List the shipped checkpoints, and the networks that can be trained."""

from __future__ import annotations

import argparse
import json
import sys

import torch

from stvae_ros.checkpoint import Checkpoint, CheckpointError, find, shipped_names
from stvae_ros.cli.tables import Cell, Figure, Table, add_format_option, show
from stvae_ros.evaluation.cost import step_cost
from stvae_ros.nn.interface import FramePredictor
from stvae_ros.nn.paper.systems import SYSTEMS
from stvae_ros.nn.registry import create, create_segmenter, names, segmenter_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(320, 240),
        metavar=("WIDTH", "HEIGHT"),
        help="of the frame, for networks that take any size (default: 320 240)",
    )
    add_format_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the tables. Raises ValueError for a size that a network cannot take."""
    width, height = arguments.size
    with torch.device("meta"):  # Only the shapes are used.
        networks = {name: create(name) for name in names()}
    refused = {name: error for name, network in networks.items() if (error := _refusal(network, width, height))}
    if len(refused) == sum(network.frame_size is None for network in networks.values()):
        raise ValueError("; ".join(dict.fromkeys(refused.values())))
    lines: dict[bool, list[list[Cell]]] = {False: [], True: []}  # by whether it is a network of the paper
    for name, network in networks.items():
        if name not in refused:
            rows, columns = network.frame_size or (height, width)
            cost = step_cost(network, columns, rows)
            figures = (Figure(cost.flops / 1e9, ".2f"), Figure(cost.state_bytes / 1e6, ".2f"))
            lines[name in SYSTEMS].append([name, f"{cost.parameters:,}", f"{columns}x{rows}", *figures])
    headings = ("name", "parameters", "frame", "GFLOP", "state (MB)")
    ours = Table("networks for real time, and the cost of one step", headings, lines[False])
    paper = Table("networks of the paper, and the cost of one step", headings, lines[True])
    tables = [_shipped(), ours, _segmenters(width, height), paper]
    show([table for table in tables if table.rows], arguments.format)
    for name, reason in refused.items():
        print(f"{name} is left out: {reason}", file=sys.stderr)
    return 0


def _segmenters(width: int, height: int) -> Table:
    lines: list[list[Cell]] = []
    for name in segmenter_names():
        with torch.device("meta"):
            segmenter = create_segmenter(name).eval()
        cost = step_cost(segmenter, width, height)
        figures = (Figure(cost.flops / 1e9, ".2f"), Figure(cost.state_bytes / 1e6, ".2f"))
        lines.append([name, str(segmenter.classes), f"{cost.parameters:,}", *figures])
    headings = ("name", "classes", "parameters", "GFLOP", "state (MB)")
    return Table(f"segmenters, and the cost of one step at {width}x{height}", headings, lines)


def _shipped() -> Table:
    """The shipped checkpoints with their validation figures."""
    lines: list[list[Cell]] = []
    for name in shipped_names():
        try:
            checkpoint = Checkpoint.open(find(name))
        except CheckpointError as error:
            lines.append([name, str(error), None, None, None, None])
            continue
        figures = json.loads(checkpoint.metadata.get("figures", "{}"))
        known = (figures.get(f"val/{key}") for key in ("psnr", "psnr_copy", "epe"))
        values = (None if value is None else Figure(value, ".2f") for value in known)
        lines.append([name, checkpoint.metadata["input"].split(",")[0], *values, checkpoint.hash])
    headings = ("name", "input", "PSNR (dB)", "copying (dB)", "EPE (px)", "sha256")
    return Table("shipped checkpoints; figures of their own validation data", headings, lines)


def _refusal(network: FramePredictor, width: int, height: int) -> str | None:
    """The reason why a network for any size does not take this one; None if it does."""
    try:
        network.check_size(*(network.frame_size or (height, width)))
    except ValueError as error:
        return str(error)
    return None
