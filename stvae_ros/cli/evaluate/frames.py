"""Measure next-frame prediction on videos, beside copying the last frame and extrapolating classical flow."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from stvae_ros.checkpoint import Checkpoint, open_frame_model
from stvae_ros.cli.tables import figures_table
from stvae_ros.data.flow_files import flow_pairs
from stvae_ros.data.media import MediaError, read_frames
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.flow_pairs import pair_errors
from stvae_ros.evaluation.next_frame import WARM_UP, Score, Shown, evaluate, mean, ours, references
from stvae_ros.streaming import StreamingPredictor

_SMALLEST = 16
"""Pixels; DIS flow takes no less."""
_COLUMNS: dict[str, tuple[Callable[[Score], float], str]] = {
    "PSNR (dB)": (lambda score: mean(score.psnrs), ".2f"),
    "moving pixels (dB)": (lambda score: mean(score.moving), ".2f"),
    "SSIM": (lambda score: mean(score.ssim), ".4f"),
    "flow error, predicted (px)": (lambda score: mean(score.errors), ".2f"),
    "observed (px)": (lambda score: mean(score.observed_errors), ".2f"),
    "flicker (px)": (lambda score: mean(score.flicker), ".3f"),
    "ms": (lambda score: score.median_milliseconds, ".1f"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("sources", nargs="*", help="video files, folders of images, still:IMAGE, or synthetic:SEED")
    parser.add_argument("--flow-pairs", metavar="FOLDER", help="image pairs with .flo files: measure observed flow")
    parser.add_argument(
        "--model", nargs="+", default=["stvae-rt-m"], help="weights: names or paths (default: stvae-rt-m)"
    )
    parser.add_argument("--frames", type=int, default=120, help="frames of each source (default: %(default)s)")
    parser.add_argument("--rollout", type=int, default=1, help="predict 1 to this many frames ahead (default: 1)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="scale the frames to this first")
    parser.add_argument(
        "--processing-size",
        type=int,
        nargs=2,
        metavar=("WIDTH", "HEIGHT"),
        help="of the networks (default: what each was made for)",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")


def run(arguments: argparse.Namespace) -> int:
    """Print one table a source, and one of means. Raises ValueError for sources or options that cannot be used."""
    if not arguments.sources and not arguments.flow_pairs:
        raise ValueError("nothing to evaluate: give videos, folders of images, synthetic:SEED, or --flow-pairs FOLDER")
    if arguments.rollout < 1:
        raise ValueError(f"--rollout {arguments.rollout}: give at least 1")
    if arguments.frames < WARM_UP + 1 + arguments.rollout:
        raise ValueError(f"--frames {arguments.frames}: give at least {WARM_UP + 1 + arguments.rollout}")
    if arguments.size is not None and min(arguments.size) < _SMALLEST:
        width, height = arguments.size
        raise ValueError(f"--size {width}x{height}: width and height must be at least {_SMALLEST}")
    weights = {name: open_frame_model(name) for name in arguments.model}
    console = Console()
    results = {source: _evaluate(source, weights, arguments) for source in arguments.sources}
    for source, scores in results.items():
        count = len(next(iter(scores.values())).psnrs)
        console.print(_table(f"{source}: {count} predictions", [scores]))
    if len(results) > 1:
        console.print(*summary(results), sep="\n")
    if arguments.rollout > 1:
        console.print(_rollout_table(results, arguments.rollout))
    if arguments.flow_pairs:
        console.print(_pairs_table(weights, arguments))
    return 0


def _predictor(
    path: Checkpoint | Path, arguments: argparse.Namespace, size: tuple[int, int] | None, horizon: int = 1
) -> StreamingPredictor:
    return StreamingPredictor.from_weights(
        path, size, device=arguments.device, precision=arguments.precision, horizon=horizon
    )


def _evaluate(source: str, weights: dict[str, Checkpoint | Path], arguments: argparse.Namespace) -> dict[str, Score]:
    size = None if arguments.processing_size is None else tuple(arguments.processing_size)
    networks = {name: ours(_predictor(path, arguments, size, arguments.rollout)) for name, path in weights.items()}
    frames = shown_frames(source, arguments.size, arguments.frames)
    return evaluate(frames, {**networks, **references(arguments.rollout)})


def shown_frames(source: str, size: tuple[int, int] | None, count: int) -> Iterable[Shown]:
    """Up to ``count`` frames of a source, scaled to ``size`` (width, height), with a progress bar on stderr.

    Raises MediaError, and ValueError for a bad seed. synthetic:SEED comes with true flow.
    """
    return track(
        islice(_all_frames(source, size), count),
        description=source,
        total=count,
        console=Console(stderr=True),
        transient=True,
    )


def _all_frames(source: str, size: tuple[int, int] | None) -> Iterator[Shown]:
    """Synthetic scenes and still images never end."""
    if source.startswith("synthetic:"):
        width, height = size or (320, 240)
        scene = SyntheticScene(int(source.removeprefix("synthetic:")), width, height)
        t, backward = 0, None
        while True:
            truth = scene.truth(t)
            yield Shown(scene.frame(t), truth.forward_flow, backward)
            # The flow of every pixel is known; that of one that has just appeared leads to where it was hidden.
            t, backward = t + 1, truth.backward_flow
    still = source.startswith("still:")
    shape = None
    for image in read_frames(source.removeprefix("still:")):
        if shape is not None and image.shape != shape:
            raise MediaError(f"{source}: frames of shape {shape} and {image.shape}; give frames of one size and colour")
        shape = image.shape
        if size is not None:
            image = cv2.resize(image, tuple(size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        yield Shown(image)
        while still:
            yield Shown(image)


def summary(results: dict[str, dict[str, Score]]) -> tuple[Table, Table]:
    """For scores by source and predictor: PSNR of every predictor on every source, and the means of all figures."""
    names = ["/".join(Path(source).with_suffix("").parts[-2:]) for source in results]
    table = figures_table("PSNR (dB) of the next frame", ("", *names, "mean"))
    for name in next(iter(results.values())):
        psnrs = [mean(scores[name].psnrs) for scores in results.values()]
        table.add_row(name, *(f"{value:.2f}" for value in (*psnrs, mean(psnrs))))
    return table, _table(f"mean of {len(results)} sources", list(results.values()))


def _table(title: str, results: list[dict[str, Score]]) -> Table:
    """Means over the sources that have a figure of its means over frames; columns that nobody fills are left out."""

    def average(name: str, figure: Callable[[Score], float]) -> float:
        figures = [figure(scores[name]) for scores in results]
        return mean([value for value in figures if not np.isnan(value)])

    rows = {name: [average(name, figure) for figure, _ in _COLUMNS.values()] for name in results[0]}
    shown = [index for index in range(len(_COLUMNS)) if not all(np.isnan(row[index]) for row in rows.values())]
    table = figures_table(title, ("", *(list(_COLUMNS)[index] for index in shown)))
    formats = [form for _, form in _COLUMNS.values()]
    for name, row in rows.items():
        table.add_row(name, *(_figure(row[i], formats[i]) for i in shown))
    return table


def _figure(value: float, form: str) -> str:
    return "-" if np.isnan(value) else format(value, form)


def _rollout_table(results: dict[str, dict[str, Score]], horizon: int) -> Table:
    title = f"PSNR (dB) of 1 to {horizon} frames ahead, mean of {len(results)} sources"
    table = figures_table(title, ("", *(str(ahead + 1) for ahead in range(horizon))))
    for name in next(iter(results.values())):
        means = (mean([mean(scores[name].rollout[ahead]) for scores in results.values()]) for ahead in range(horizon))
        table.add_row(name, *(f"{value:.2f}" for value in means))
    return table


def _pairs_table(weights: dict[str, Checkpoint | Path], arguments: argparse.Namespace) -> Table:
    networks = {name: partial(_predictor, path, arguments) for name, path in weights.items()}
    pairs: dict[str, dict[str, float]] = {}
    for name, source, target, truth in flow_pairs(arguments.flow_pairs):
        pairs[name if name not in pairs else f"{name} {len(pairs)}"] = pair_errors(source, target, truth, networks)
    estimators = list(next(iter(pairs.values())))
    title = f"{arguments.flow_pairs}: end-point error of the observed flow (px)"
    table = figures_table(title, ("pair", *estimators))
    for name, errors in pairs.items():
        table.add_row(name, *(_figure(errors[estimator], ".2f") for estimator in estimators))
    table.add_section()
    table.add_row("mean", *(_figure(mean([errors[e] for errors in pairs.values()]), ".2f") for e in estimators))
    return table
