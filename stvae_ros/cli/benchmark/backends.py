"""Run a network in every way there is, in turns: speed of each, and how far it is from eager PyTorch in fp32."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.progress import Progress

from stvae_ros.checkpoint import Checkpoint, find
from stvae_ros.cli.tables import figures_table
from stvae_ros.evaluation.backends import TURN, WAYS, step_times, ways
from stvae_ros.runtime.device import resolve_device, resolve_precision
from stvae_ros.runtime.export_check import Difference, difference, moving_frames


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--model", default="stvae-rt-m", help="weights: name or path (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--backends", nargs="+", choices=WAYS, default=list(WAYS), help="default: all; those not here are left out"
    )
    parser.add_argument("--turns", type=int, default=20, help=f"of {TURN} steps each (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Print the table. Raises ValueError for weights, a device, a size or numbers that cannot be used."""
    if arguments.turns < 1:
        raise ValueError(f"--turns {arguments.turns}: give at least 1")
    checkpoint, device = Checkpoint.open(find(arguments.model)), resolve_device(arguments.device)
    width, height = arguments.size
    checkpoint.network().check_size(height, width)
    precisions = [resolve_precision("auto", device)]
    apart: dict[str, Difference] = {}
    with TemporaryDirectory() as folder, Progress(transient=True) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of compilers, about what they could do better.
        task = progress.add_task("exporting", total=None)
        found = ways(checkpoint, (width, height), device, precisions, arguments.backends, Path(folder))
        first = next(iter(found.values()))
        frames = moving_frames(first.in_channels, width, height)
        for name, network in found.items():
            progress.update(task, description=f"comparing {name}, which compilers make long at first")
            apart[name] = difference(first, network, frames[:20])
        progress.update(task, description="timing in turns")
        times = step_times(found, frames, arguments.turns)
    title = (
        f"{arguments.model}, one step at {width}x{height} on {device}, {torch.get_num_threads()} threads: medians of "
        f"{arguments.turns * (TURN - 1)}"
    )
    headings = ("", "ms", "x eager fp32", "largest error, frame", "flow (px)", "mean error, frame", "flow (px)")
    table = figures_table(title, headings)
    reference = next(iter(times.values()))
    for name, milliseconds in times.items():
        error = apart[name]
        errors = (f"{value:.1e}" for value in (error.frame, error.flow, error.mean_frame, error.mean_flow))
        table.add_row(name, f"{milliseconds:.1f}", f"{milliseconds / reference:.2f}", *errors)
    Console().print(table)
    return 0
