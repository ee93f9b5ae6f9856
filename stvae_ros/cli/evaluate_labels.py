"""`stvae evaluate labels`: how labels given on some frames are carried to the others, beside classical flow."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from stvae_ros import zoo
from stvae_ros.cli.tables import figures_table
from stvae_ros.data.media import IMAGE_SUFFIXES, MediaError
from stvae_ros.evaluation.labels import Carry, Labelled, LabelScore, evaluate_labels, hold, ours, warped
from stvae_ros.evaluation.references import dis_flow, farneback_flow
from stvae_ros.streaming import StreamingPredictor

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
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")


def run(arguments: argparse.Namespace) -> int:
    """Print one table of mean IoU and one an interval, and write all figures to a file."""
    if min(arguments.intervals) < 1:
        raise ValueError("--intervals count frames: give at least 1")
    frames = list(_read(arguments))
    classes = 2 if arguments.binary else arguments.classes
    weights = {name: zoo.find(name) for name in arguments.model}
    results = {}
    for interval in track(arguments.intervals, "intervals", console=Console(stderr=True), transient=True):
        results[interval] = evaluate_labels(frames, _carriers(weights, arguments), interval, classes)
    console = Console()
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


def _carriers(weights: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Carry]:
    carriers: dict[str, Carry] = {}
    for name, path in weights.items():
        for fill in (True, False):
            predictor = StreamingPredictor.from_weights(path, device=arguments.device, precision=arguments.precision)
            carriers[name if fill else f"{name}, doubtful unlabelled"] = ours(predictor, fill)
    flows = {"DIS medium": dis_flow("medium"), "Farneback": farneback_flow}
    return {**carriers, "hold last": hold(), **{name: warped(flow) for name, flow in flows.items()}}


def _read(arguments: argparse.Namespace) -> Iterator[Labelled]:
    images, annotations = (_files(Path(folder)) for folder in (arguments.frames, arguments.annotations))
    if len(images) != len(annotations):
        raise MediaError(f"{arguments.frames} has {len(images)} images and {arguments.annotations} {len(annotations)}")
    for path, annotation in zip(images, annotations, strict=True):
        image, labels = cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.imread(str(annotation), cv2.IMREAD_GRAYSCALE)
        for name, read in ((path, image), (annotation, labels)):
            if read is None:
                raise MediaError(f"{name}: not an image that OpenCV can read; remove or convert it")
        assert image is not None and labels is not None
        if image.shape[:2] != labels.shape:
            raise MediaError(
                f"{annotation}: {labels.shape[1]}x{labels.shape[0]}, but its frame is {image.shape[1]}x{image.shape[0]}"
            )
        if arguments.binary:
            labels = (labels > 0).astype(np.uint8)
        if arguments.size is not None:
            image = cv2.resize(image, tuple(arguments.size), interpolation=cv2.INTER_AREA)
            labels = cv2.resize(labels, tuple(arguments.size), interpolation=cv2.INTER_NEAREST)
        yield Labelled(image.astype(np.uint8, copy=False), labels.astype(np.uint8, copy=False))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise MediaError(f"{folder}: no such folder of images")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


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
