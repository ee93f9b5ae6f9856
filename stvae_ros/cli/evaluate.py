"""Measure next-frame prediction on videos, beside copying the last frame and extrapolating classical flow."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from stvae_ros import zoo
from stvae_ros.data.media import Image, MediaError, read_frames
from stvae_ros.data.synthetic import SyntheticScene
from stvae_ros.evaluation.replay import WARM_UP, Score, evaluate, ours, references
from stvae_ros.streaming import StreamingPredictor

_SMALLEST = 16
"""Pixels; DIS flow takes no less."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("sources", nargs="+", help="video files, folders of images, or synthetic:SEED")
    parser.add_argument("--model", default="ae-convlstm-flow", help="weights: a name or a path (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=120, help="frames of each source (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="scale the frames to this first")
    parser.add_argument("--processing-size", type=int, nargs=2, default=(160, 120), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")


def run(arguments: argparse.Namespace) -> int:
    """Print one table a source. Raises ValueError for sources or options that cannot be used."""
    if arguments.frames <= WARM_UP:
        raise ValueError(f"--frames {arguments.frames}: give at least {WARM_UP + 1}")
    if arguments.size is not None and min(arguments.size) < _SMALLEST:
        width, height = arguments.size
        raise ValueError(f"--size {width}x{height}: width and height must be at least {_SMALLEST}")
    weights = zoo.find(arguments.model)
    console = Console()
    for source in arguments.sources:
        predictor = StreamingPredictor.from_weights(
            weights,
            device=arguments.device,
            precision=arguments.precision,
            processing_size=tuple(arguments.processing_size),
        )
        predictors = {arguments.model: ours(predictor), **references()}
        frames = track(
            islice(_frames(source, arguments.size), arguments.frames),
            description=source,
            total=arguments.frames,
            console=Console(stderr=True),
            transient=True,
        )
        console.print(_table(source, evaluate(frames, predictors)))
    return 0


def _frames(source: str, size: tuple[int, int] | None) -> Iterator[tuple[Image, NDArray[np.float32] | None]]:
    if source.startswith("synthetic:"):
        width, height = size or (320, 240)
        scene = SyntheticScene(int(source.removeprefix("synthetic:")), width, height)
        t = 0
        while True:
            yield scene.frame(t), scene.truth(t).forward_flow
            t += 1
    shape = None
    for image in read_frames(source):
        if shape is not None and image.shape != shape:
            raise MediaError(f"{source}: frames of shape {shape} and {image.shape}; give frames of one size and colour")
        shape = image.shape
        if size is not None:
            image = cv2.resize(image, tuple(size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        yield image, None


def _table(source: str, scores: dict[str, Score]) -> Table:
    table = Table(title=f"{source}: {len(next(iter(scores.values())).psnrs)} predictions")
    for heading in ("", "PSNR (dB)", "end-point error (px)", "ms a frame"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, score in scores.items():
        error = "-" if np.isnan(score.end_point_error) else f"{score.end_point_error:.2f}"
        table.add_row(name, f"{score.psnr:.2f}", error, f"{score.median_milliseconds:.1f}")
    return table
