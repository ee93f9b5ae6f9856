"""Measure masks of what moves by itself before a moving camera, beside frame differencing and OpenCV's MOG2."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stvae_ros.cli import tables
from stvae_ros.cli.evaluate.options import (
    add_network_options,
    checkpoints,
    figures,
    predictor,
    progress,
    require_at_least,
)
from stvae_ros.cli.tables import Cell, Figure, Table
from stvae_ros.data.labelled import read_labelled
from stvae_ros.data.scenes.names import is_scene, open_scene
from stvae_ros.data.scenes.scene3d import Truth3D
from stvae_ros.data.scenes.shapes import BACKGROUND
from stvae_ros.data.scenes.solids import ROAD
from stvae_ros.evaluation.core.loop import PERIOD, WARM_UP, Sample
from stvae_ros.evaluation.core.scores import Score
from stvae_ros.evaluation.masks import FindMoving, FrameDifference, NetworkMask, background_mixture, evaluate_masks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("scenes", nargs="*", help="synthetic:SEED, or scene3d:SEED, where the camera moves in depth")
    parser.add_argument(
        "--masks",
        nargs=2,
        action="append",
        default=[],
        metavar=("FRAMES", "MASKS"),
        help="folders of images and of their masks, in the same order; 0 is what does not move by itself; repeatable",
    )
    parser.add_argument("--frames", type=int, default=60, help="frames of each source (default: %(default)s)")
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a table of mean intersection over union. Raises ValueError for sources that cannot be used."""
    sources: dict[str, Iterator[Sample]] = {name: _scene(name) for name in arguments.scenes}
    sources |= {Path(frames).name: _folders(frames, masks) for frames, masks in arguments.masks}
    if not sources:
        raise ValueError("nothing to evaluate: give scene3d:SEED, or --masks FRAMES MASKS")
    require_at_least({"frames": arguments.frames}, WARM_UP + 1)
    weights = checkpoints(arguments.model)
    results: dict[str, dict[str, Score]] = {}
    for source, samples in sources.items():
        finders: dict[str, FindMoving] = {
            **{name: NetworkMask(predictor(path, arguments)) for name, path in weights.items()},
            "frame difference": FrameDifference(),
            "MOG2": background_mixture(),
        }
        results[source] = evaluate_masks(progress(samples, source, arguments.frames), finders)
    rows: list[Sequence[Cell]] = []
    for name in next(iter(results.values())):
        means = [100 * scores[name].mean("iou") for scores in results.values()]
        milliseconds = np.median([value for scores in results.values() for value in scores[name]["ms"]])
        rows.append([name, *figures([*means, float(np.mean(means))], ".1f"), Figure(float(milliseconds), ".1f")])
    title = "intersection over union of what moves, mean of frames (%)"
    tables.show([Table(title, ["method", *results, "mean", "ms"], rows)], arguments.format)
    return 0


def _scene(source: str) -> Iterator[Sample]:
    """The frames of a scene, without end; in the plane all objects move by themselves."""
    if not is_scene(source):
        raise ValueError(f"{source}: give scene3d:SEED or synthetic:SEED, or folders with --masks")
    scene, t = open_scene(source, 320, 240), 0
    while True:
        truth = scene.truth(t)
        ground = ROAD if isinstance(truth, Truth3D) else BACKGROUND  # The shadow of a car is on the road.
        moving = truth.labels != ground
        if isinstance(truth, Truth3D):
            moving &= truth.moving
        yield Sample(scene.frame(t), t * PERIOD, moving=moving)
        t += 1


def _folders(frames: str, masks: str) -> Iterator[Sample]:
    """The frames of a folder with the masks of another one. Raises MediaError for folders that cannot be used."""
    for index, (image, labels, _) in enumerate(read_labelled(frames, masks)):
        yield Sample(image, index * PERIOD, moving=labels > 0)
