"""Measure how the labels of some frames are carried to the other frames, beside classical flow."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from stvae_ros.checkpoint import Checkpoint, find
from stvae_ros.cli import tables
from stvae_ros.cli.evaluate.options import (
    add_network_options,
    add_size_option,
    checkpoints,
    figures,
    predictor,
    progress,
)
from stvae_ros.cli.tables import Cell, Table
from stvae_ros.data.labelled import Labelled, read_labelled
from stvae_ros.evaluation.core.classical_flow import dis_flow, farneback_flow
from stvae_ros.evaluation.labels import Carry, HoldLast, LabelScore, Propagated, Warped, evaluate_labels, segmented
from stvae_ros.files import replaced
from stvae_ros.streaming.segmentation import StreamingSegmenter

_FIGURES = {
    "mIoU (%)": lambda score: 100 * score.confusion.mean_iou,
    "accuracy (%)": lambda score: 100 * score.confusion.accuracy,
    "consistency (%)": lambda score: 100 * score.mean("consistency"),
    "unlabelled (%)": lambda score: 100 * score.confusion.unlabelled,
    "ms": lambda score: score.median("ms"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("frames", help="folder of images")
    parser.add_argument("annotations", help="folder of label images, one for each frame, in the same order")
    parser.add_argument("--output", type=Path, required=True, help="folder for labels.csv, with every class")
    parser.add_argument("--classes", type=int, default=11, help="ignore ids from here on (default: CamVid's 11)")
    parser.add_argument("--binary", action="store_true", help="labels are masks: 0 and anything else")
    parser.add_argument(
        "--intervals",
        type=int,
        nargs="+",
        default=[1, 2, 5, 10, 15],
        help="frames from given labels to given labels (default: 1 2 5 10 15)",
    )
    add_size_option(parser, "frames and labels")
    parser.add_argument(
        "--segmenter",
        nargs="+",
        help="checkpoints of segmenters: instead measure the labels that they find on every frame, class by class",
    )
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print tables, and write all figures to a file."""
    if min(arguments.intervals) < 1:
        raise ValueError("--intervals are numbers of frames: give at least 1")
    frames = list(_read(arguments))
    classes = 2 if arguments.binary else arguments.classes
    results: dict[int, dict[str, LabelScore]] = {}
    if arguments.segmenter:
        results[1] = _segmented(frames, arguments, classes)
        shown = [_per_class(f"{arguments.frames}: labels found on {len(frames)} frames", results[1], classes)]
    else:
        weights = checkpoints(arguments.model)
        for interval in progress(arguments.intervals, "intervals", len(arguments.intervals)):
            results[interval] = evaluate_labels(frames, _carriers(weights, arguments), interval, classes)
        title = f"{arguments.frames}: mIoU (%) of {len(frames)} frames by interval of labels"
        shown = [_by_interval(title, results), *(_figures_table(*item) for item in results.items())]
    tables.show(shown, arguments.format)
    _write(arguments.output, results, classes)
    return 0


def _segmented(frames: list[Labelled], arguments: argparse.Namespace, classes: int) -> dict[str, LabelScore]:
    scores: dict[str, LabelScore] = {}
    for name in progress(arguments.segmenter, "segmenters", len(arguments.segmenter)):
        checkpoint = Checkpoint.open(find(name))
        segmenter = StreamingSegmenter.from_weights(checkpoint, device=arguments.device, precision=arguments.precision)
        scores |= evaluate_labels(frames, {name: segmented(segmenter)}, 1, classes)
    return scores


def _by_interval(title: str, results: Mapping[int, Mapping[str, LabelScore]]) -> Table:
    rows: list[Sequence[Cell]] = []
    for name in next(iter(results.values())):
        means = (100 * scores[name].confusion.mean_iou for scores in results.values())
        rows.append([name, *figures(means, ".1f")])
    return Table(title, ["labels", *map(str, results)], rows)


def _figures_table(interval: int, scores: Mapping[str, LabelScore]) -> Table:
    rows = [[name, *figures((figure(score) for figure in _FIGURES.values()), ".1f")] for name, score in scores.items()]
    return Table(f"labels given on every frame in {interval}", ["labels", *_FIGURES], rows)


def _per_class(title: str, scores: Mapping[str, LabelScore], classes: int) -> Table:
    """IoU of every class and all figures, with a column for each of the scores."""
    rows: list[Sequence[Cell]] = [
        [f"IoU of class {k} (%)", *figures((100 * score.confusion.iou[k] for score in scores.values()), ".1f")]
        for k in range(classes)
    ]
    for name, figure in _FIGURES.items():
        rows.append([name, *figures((figure(score) for score in scores.values()), ".1f")])
    return Table(title, ["figure", *scores], rows)


def _carriers(weights: Mapping[str, Checkpoint | Path], arguments: argparse.Namespace) -> dict[str, Carry]:
    carriers: dict[str, Carry] = {}
    for name, path in weights.items():
        for fill in (True, False):
            label = name if fill else f"{name}, doubtful unlabelled"
            carriers[label] = Propagated(predictor(path, arguments), fill)
    flows = {"DIS medium": dis_flow("medium"), "Farneback": farneback_flow}
    return {**carriers, "hold last": HoldLast(), **{name: Warped(flow) for name, flow in flows.items()}}


def _read(arguments: argparse.Namespace) -> Iterator[Labelled]:
    size = None if arguments.size is None else (arguments.size[1], arguments.size[0])
    for frame in read_labelled(arguments.frames, arguments.annotations, size):
        yield frame._replace(labels=(frame.labels > 0).astype(np.uint8)) if arguments.binary else frame


def _write(folder: Path, results: Mapping[int, Mapping[str, LabelScore]], classes: int) -> None:
    """Write labels.csv, whole or not at all."""
    rows: list[Sequence[object]] = [
        ("interval", "labels", *_FIGURES, *(f"IoU of class {k} (%)" for k in range(classes)))
    ]
    for interval, scores in results.items():
        for name, score in scores.items():
            values = (round(figure(score), 3) for figure in _FIGURES.values())
            rows.append((interval, name, *values, *(100 * score.confusion.iou).round(2)))
    with replaced(folder / "labels.csv") as part, part.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
