"""Measure how the boxes of some frames are carried to the others, beside holding, extrapolation and classical flow."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, product
from pathlib import Path

import numpy as np

from stvae_ros.checkpoint import Checkpoint
from stvae_ros.cli import tables
from stvae_ros.cli.evaluate.options import (
    add_network_options,
    add_size_option,
    checkpoints,
    figures,
    predictor,
    progress,
    require_at_least,
)
from stvae_ros.cli.tables import Cell, Table
from stvae_ros.data.labelled import read_labelled
from stvae_ros.evaluation.boxes import (
    CarriedBoxes,
    CarryBoxes,
    ConstantVelocity,
    Detected,
    FlowBoxes,
    HoldBoxes,
    boxes_of,
    evaluate_boxes,
    median_shift,
)
from stvae_ros.evaluation.core.classical_flow import dis_flow
from stvae_ros.evaluation.core.scores import Score
from stvae_ros.streaming.boxes import move_boxes

Results = Mapping[str, Mapping[str, Score]]
"""The scores of each method, by name of the column."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--masks",
        nargs=2,
        action="append",
        required=True,
        metavar=("FRAMES", "MASKS"),
        help="folders of images and of their masks, in the same order; each value of a mask but 0 is one object, whose "
        "box is used; repeatable",
    )
    parser.add_argument("--frames", type=int, default=1000, help="frames of each source (default: %(default)s)")
    parser.add_argument(
        "--intervals",
        type=int,
        nargs="+",
        default=[3, 6, 12],
        help="frames from given boxes to given boxes (default: 3 6 12)",
    )
    parser.add_argument(
        "--late",
        type=int,
        nargs="+",
        default=[0, 3, 12],
        help="frames from a frame to the arrival of its boxes, at most 60 (default: 0 3 12)",
    )
    add_size_option(parser, "frames and masks")
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a table of mean intersection over union for each source, and of their means."""
    require_at_least({"frames": arguments.frames, "intervals": min(arguments.intervals)}, 1)
    if not all(0 <= late <= 60 for late in arguments.late):
        raise ValueError("--late are numbers of frames: give 0 to 60")
    size = None if arguments.size is None else (arguments.size[1], arguments.size[0])
    weights = checkpoints(arguments.model)
    results: dict[str, Results] = {}
    for folders in arguments.masks:
        frames = [
            Detected(image, boxes_of(labels))
            for image, labels, _ in islice(read_labelled(folders[0], folders[1], size), arguments.frames)
        ]
        name = Path(folders[0]).name
        cases = list(product(arguments.late, arguments.intervals))
        results[name] = {
            f"every {interval}, {late} late": evaluate_boxes(frames, _carriers(weights, arguments), interval, late)
            for late, interval in progress(cases, name, len(cases))
        }
    title = "intersection over union of boxes (%)"
    shown = [_table(f"{name}: {title}", [clip]) for name, clip in results.items()]
    if len(results) > 1:
        shown.append(_table(f"mean of {len(results)} clips: {title}", list(results.values())))
    tables.show(shown, arguments.format)
    return 0


def _carriers(weights: Mapping[str, Checkpoint | Path], arguments: argparse.Namespace) -> dict[str, CarryBoxes]:
    return {
        **{name: CarriedBoxes(predictor(path, arguments)) for name, path in weights.items()},
        "hold last": HoldBoxes(),
        "constant velocity": ConstantVelocity(),
        "DIS medium, median": FlowBoxes(dis_flow("medium"), median_shift),
        "DIS medium, our fit": FlowBoxes(dis_flow("medium"), move_boxes, doubts=True),
    }


def _table(title: str, clips: Sequence[Results]) -> Table:
    """Means over the clips, with a row for each method."""
    columns = list(clips[0])
    rows: list[Sequence[Cell]] = []
    for name in clips[0][columns[0]]:
        means: Iterable[float] = (
            100 * float(np.mean([clip[column][name].mean("iou") for clip in clips])) for column in columns
        )
        milliseconds = float(np.median([clip[column][name].median("ms") for clip in clips for column in columns]))
        rows.append([name, *figures([*means, milliseconds], ".1f")])
    return Table(title, ["boxes", *columns, "ms"], rows)
