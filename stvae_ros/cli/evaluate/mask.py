"""`stvae evaluate mask`: what moves by itself, seen by a moving camera, beside frame differencing and OpenCV's MOG2."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from stvae_ros.checkpoint import open_frame_model
from stvae_ros.cli.tables import figures_table
from stvae_ros.data.media import IMAGE_SUFFIXES, MediaError, read_frames
from stvae_ros.data.scenes.shapes import BACKGROUND, SyntheticScene
from stvae_ros.evaluation.masks import (
    WARM_UP,
    Masked,
    MaskScore,
    background_mixture,
    evaluate_masks,
    frame_difference,
    ours,
)
from stvae_ros.streaming import StreamingPredictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("scenes", nargs="*", help="synthetic:SEED, whose objects all move by themselves")
    parser.add_argument(
        "--masks",
        nargs=2,
        action="append",
        default=[],
        metavar=("FRAMES", "MASKS"),
        help="folders of images and of their masks, in the same order; 0 is what does not move by itself; repeatable",
    )
    parser.add_argument("--model", nargs="+", default=["stvae-rt-m"], help="weights: names or paths")
    parser.add_argument("--frames", type=int, default=60, help="frames of each source (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")


def run(arguments: argparse.Namespace) -> int:
    """Print a table of mean intersection over union. Raises ValueError for sources that cannot be used."""
    sources: dict[str, Iterator[Masked]] = {name: _scene(name) for name in arguments.scenes}
    sources |= {Path(frames).name: _folders(frames, masks) for frames, masks in arguments.masks}
    if not sources:
        raise ValueError("nothing to evaluate: give synthetic:SEED, or --masks FRAMES MASKS")
    if arguments.frames <= WARM_UP:
        raise ValueError(f"--frames {arguments.frames}: give at least {WARM_UP + 1}")
    weights = {name: open_frame_model(name) for name in arguments.model}
    results: dict[str, dict[str, MaskScore]] = {}
    for name, frames in sources.items():
        options = {"device": arguments.device, "precision": arguments.precision}
        networks = {}
        for key, path in weights.items():
            predictor = StreamingPredictor.from_weights(path, **options)
            predictor.warm_up()
            networks[key] = ours(predictor)
        finders = {**networks, "frame difference": frame_difference(), "MOG2": background_mixture()}
        shown = track(
            islice(frames, arguments.frames),
            description=name,
            total=arguments.frames,
            console=Console(stderr=True),
            transient=True,
        )
        results[name] = evaluate_masks(shown, finders)
    table = figures_table("intersection over union of what moves, mean of frames (%)", ("", *results, "mean", "ms"))
    for name in next(iter(results.values())):
        means = [100 * float(np.mean(scores[name].ious)) for scores in results.values()]
        milliseconds = np.median([value for scores in results.values() for value in scores[name].milliseconds])
        table.add_row(name, *(f"{value:.1f}" for value in (*means, float(np.mean(means)))), f"{milliseconds:.1f}")
    Console().print(table)
    return 0


def _scene(source: str) -> Iterator[Masked]:
    """Endless."""
    seed = source.removeprefix("synthetic:")
    if seed == source or not seed.isdecimal():
        raise ValueError(f"{source}: give synthetic:SEED, or folders with --masks")
    scene, t = SyntheticScene(int(seed)), 0
    while True:
        yield Masked(scene.frame(t), scene.truth(t).labels != BACKGROUND)
        t += 1


def _folders(frames: str, masks: str) -> Iterator[Masked]:
    counts = [_count(folder) for folder in (frames, masks)]
    if counts[0] != counts[1]:
        raise MediaError(f"{frames} has {counts[0]} images and {masks} {counts[1]}: give a mask for each frame")
    for index, (image, mask) in enumerate(zip(read_frames(frames), read_frames(masks), strict=True)):
        if image.shape[:2] != mask.shape[:2]:
            raise MediaError(f"{masks}: mask {index} has another size than its frame in {frames}")
        colour = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
        yield Masked(colour, np.asarray(mask.reshape(*mask.shape[:2], -1).max(axis=2) > 0, np.bool_))


def _count(folder: str) -> int:
    path = Path(folder)
    if not path.is_dir():
        raise MediaError(f"{folder}: no such folder of images")
    return sum(entry.suffix.lower() in IMAGE_SUFFIXES for entry in path.iterdir())
