"""Run a network with each backend in turns: the speed of each, and its difference from eager PyTorch in fp32."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.progress import Progress

from stvae_ros.checkpoint import Checkpoint, find
from stvae_ros.cli.tables import Cell, Figure, Table, add_format_option, show
from stvae_ros.evaluation.backends import TURN, WAYS, step_times, ways
from stvae_ros.runtime.device import resolve_device, resolve_precision
from stvae_ros.runtime.export_check import Difference, difference, moving_frames


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--model", default="stvae-rt-m", help="checkpoint: name or path (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--backends", nargs="+", choices=WAYS, default=list(WAYS), help="default: all that this machine has"
    )
    parser.add_argument("--turns", type=int, default=20, help=f"number of turns of {TURN} steps (default: %(default)s)")
    add_format_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table. Raises ValueError for a checkpoint, device, size or number that cannot be used."""
    if arguments.turns < 1:
        raise ValueError(f"--turns {arguments.turns}: give at least 1")
    checkpoint, device = Checkpoint.open(find(arguments.model)), resolve_device(arguments.device)
    width, height = arguments.size
    checkpoint.network().check_size(height, width)
    precisions = [resolve_precision("auto", device)]
    apart: dict[str, Difference] = {}
    with (
        TemporaryDirectory() as folder,
        Progress(console=Console(stderr=True), transient=True) as progress,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # Compilers warn of missed optimisations.
        task = progress.add_task("exporting", total=None)
        found = ways(checkpoint, (width, height), device, precisions, arguments.backends, Path(folder))
        first = next(iter(found.values()))
        frames = moving_frames(first.in_channels, width, height)
        for name, network in found.items():
            progress.update(task, description=f"comparing {name} (compilers take long at first)")
            apart[name] = difference(first, network, frames[:20])
        progress.update(task, description="timing in turns")
        times = step_times(found, frames, arguments.turns)
    title = (
        f"{arguments.model}, one step at {width}x{height} on {device}, {torch.get_num_threads()} threads: medians of "
        f"{arguments.turns * (TURN - 1)}"
    )
    errors = ("largest error, frame", "largest error, flow (px)", "mean error, frame", "mean error, flow (px)")
    reference = next(iter(times.values()))
    lines: list[list[Cell]] = []
    for name, milliseconds in times.items():
        error = apart[name]
        values = (error.frame, error.flow, error.mean_frame, error.mean_flow)
        figures = (Figure(milliseconds, ".1f"), Figure(milliseconds / reference, ".2f"))
        lines.append([name, *figures, *(Figure(value, ".1e") for value in values)])
    show([Table(title, ("backend", "ms", "x eager fp32", *errors), lines)], arguments.format)
    return 0
