"""`stvae evaluate labels`: how labels given on some frames are carried to the others, beside classical flow."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from stvae_ros.checkpoint import Checkpoint, find, open_frame_model
from stvae_ros.cli.tables import figures_table
from stvae_ros.data.labelled import Labelled, read_labelled
from stvae_ros.evaluation.baselines import dis_flow, farneback_flow
from stvae_ros.evaluation.labels import Carry, LabelScore, evaluate_labels, hold, ours, segmented, warped
from stvae_ros.streaming import StreamingPredictor
from stvae_ros.streaming.segmentation import StreamingSegmenter

_FIGURES = {
    "mIoU (%)": lambda score: 100 * score.mean_iou,
    "accuracy (%)": lambda score: 100 * score.accuracy,
    "consistency (%)": lambda score: 100 * float(np.mean(score.consistency)),
    "unlabelled (%)": lambda score: 100 * score.unlabelled,
    "ms": lambda score: float(np.median(score.milliseconds)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("frames", help="folder of images")
    parser.add_argument("annotations", help="folder of label images, one for each frame, in the same order")
    parser.add_argument("--output", type=Path, required=True, help="folder for labels.csv, with every class")
    parser.add_argument("--model", nargs="+", default=["stvae-rt-m"], help="weights: names or paths")
    parser.add_argument("--classes", type=int, default=11, help="ids from here on are ignored (default: CamVid's 11)")
    parser.add_argument("--binary", action="store_true", help="labels are masks: 0 and anything else")
    parser.add_argument(
        "--intervals", type=int, nargs="+", default=[1, 2, 5, 10, 15], help="frames from labels to labels"
    )
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="scale frames and labels to this"
    )
    parser.add_argument(
        "--segmenter",
        nargs="+",
        help="weights of segmenters: measure what these find on every frame, class by class, instead",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")


def run(arguments: argparse.Namespace) -> int:
    """Print tables, and write all figures to a file."""
    if min(arguments.intervals) < 1:
        raise ValueError("--intervals count frames: give at least 1")
    frames = list(_read(arguments))
    classes = 2 if arguments.binary else arguments.classes
    console = Console()
    if arguments.segmenter:
        found = _segmented(frames, arguments, classes)
        console.print(_per_class(f"{arguments.frames}: what is found on {len(frames)} frames", found, classes))
        _write(arguments.output, {1: found}, classes)
        return 0
    weights = {name: open_frame_model(name) for name in arguments.model}
    results = {}
    for interval in track(arguments.intervals, "intervals", console=Console(stderr=True), transient=True):
        results[interval] = evaluate_labels(frames, _carriers(weights, arguments), interval, classes)
    table = figures_table(
        f"{arguments.frames}: mIoU (%) of {len(frames)} frames by interval of labels", ("", *map(str, results))
    )
    for name in next(iter(results.values())):
        table.add_row(name, *(f"{100 * scores[name].mean_iou:.1f}" for scores in results.values()))
    console.print(table)
    for interval, scores in results.items():
        table = figures_table(f"labels on every frame in {interval}", ("", *_FIGURES))
        for name, score in scores.items():
            table.add_row(name, *(f"{figure(score):.1f}" for figure in _FIGURES.values()))
        console.print(table)
    _write(arguments.output, results, classes)
    return 0


def _segmented(frames: list[Labelled], arguments: argparse.Namespace, classes: int) -> dict[str, LabelScore]:
    options = {"device": arguments.device, "precision": arguments.precision}
    scores: dict[str, LabelScore] = {}
    for name in track(arguments.segmenter, "segmenters", console=Console(stderr=True), transient=True):
        segmenter = StreamingSegmenter.from_weights(Checkpoint.open(find(name)), **options)
        scores |= evaluate_labels(frames, {name: segmented(segmenter)}, 1, classes)
    return scores


def _per_class(title: str, scores: dict[str, LabelScore], classes: int) -> Table:
    """IoU of every class and all figures, a column for each of ``scores``."""
    table = figures_table(title, ("", *scores))
    for k in range(classes):
        table.add_row(f"IoU of class {k} (%)", *(f"{100 * score.iou[k]:.1f}" for score in scores.values()))
    for name, figure in _FIGURES.items():
        table.add_row(name, *(f"{figure(score):.1f}" for score in scores.values()))
    return table


def _carriers(weights: dict[str, Checkpoint | Path], arguments: argparse.Namespace) -> dict[str, Carry]:
    carriers: dict[str, Carry] = {}
    for name, path in weights.items():
        for fill in (True, False):
            predictor = StreamingPredictor.from_weights(path, device=arguments.device, precision=arguments.precision)
            carriers[name if fill else f"{name}, doubtful unlabelled"] = ours(predictor, fill)
    flows = {"DIS medium": dis_flow("medium"), "Farneback": farneback_flow}
    return {**carriers, "hold last": hold(), **{name: warped(flow) for name, flow in flows.items()}}


def _read(arguments: argparse.Namespace) -> Iterator[Labelled]:
    size = None if arguments.size is None else (arguments.size[1], arguments.size[0])
    for frame in read_labelled(arguments.frames, arguments.annotations, size):
        yield frame._replace(labels=(frame.labels > 0).astype(np.uint8)) if arguments.binary else frame


def _write(folder: Path, results: dict[int, dict[str, LabelScore]], classes: int) -> None:
    """labels.csv, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Sequence[object]] = [
        ("interval", "labels", *_FIGURES, *(f"IoU of class {k} (%)" for k in range(classes)))
    ]
    for interval, scores in results.items():
        for name, score in scores.items():
            figures = (round(figure(score), 3) for figure in _FIGURES.values())
            rows.append((interval, name, *figures, *(100 * score.iou).round(2)))
    part = folder / "labels.csv.part"
    with part.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    part.rename(folder / "labels.csv")
