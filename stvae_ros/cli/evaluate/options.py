"""Options and helpers that the subcommands of `stvae evaluate` share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from stvae_ros.checkpoint import Checkpoint, open_frame_model
from stvae_ros.cli.tables import Cell, Figure, add_format_option
from stvae_ros.streaming import StreamingPredictor

T = TypeVar("T")


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options ``--model``, ``--device``, ``--precision`` and ``--format``."""
    parser.add_argument(
        "--model", nargs="+", default=["stvae-rt-m"], help="checkpoints: names or paths (default: stvae-rt-m)"
    )
    add_run_options(parser)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options ``--device``, ``--precision`` and ``--format``."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default: auto)")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16 (default: auto)")
    add_format_option(parser)


def add_size_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option ``--size``, which scales ``what``."""
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help=f"scale {what} to this size")


def checkpoints(names: Sequence[str]) -> dict[str, Checkpoint | Path]:
    """Open the checkpoints of networks that see frames of a camera. Raises ValueError if one cannot be used."""
    return {name: open_frame_model(name) for name in names}


def predictor(
    checkpoint: Checkpoint | Path, arguments: argparse.Namespace, processing_size: tuple[int, int] | None = None
) -> StreamingPredictor:
    """Load a checkpoint with the options of `add_run_options`."""
    return StreamingPredictor.from_weights(
        checkpoint, processing_size, device=arguments.device, precision=arguments.precision
    )


def progress(items: Iterable[T], description: str, count: int) -> Iterable[T]:
    """Iterate over at most ``count`` items with a progress bar on stderr."""
    console = Console(stderr=True)
    return track(islice(items, count), description, total=count, console=console, transient=True)


def figures(values: Iterable[float], form: str) -> list[Cell]:
    """Cells of a table in one format."""
    return [Figure(value, form) for value in values]


def require_at_least(options: Mapping[str, float], least: float) -> None:
    """Raise ValueError for an option below its least value."""
    for name, value in options.items():
        if value < least:
            raise ValueError(f"--{name} {value}: give at least {least}")
