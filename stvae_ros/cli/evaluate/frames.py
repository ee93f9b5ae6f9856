"""Measure next-frame prediction on videos, beside copying the last frame and extrapolating classical flow."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
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
from stvae_ros.cli.tables import Cell, Figure, Table
from stvae_ros.data.flow_files import flow_pairs
from stvae_ros.data.media import MediaError, read_frames
from stvae_ros.data.scenes.names import is_scene, open_scene
from stvae_ros.evaluation.core.loop import PERIOD, WARM_UP, Sample
from stvae_ros.evaluation.core.methods import Network, references
from stvae_ros.evaluation.core.metrics import SMALLEST
from stvae_ros.evaluation.core.scores import Score, mean
from stvae_ros.evaluation.flow_pairs import pair_errors
from stvae_ros.evaluation.next_frame import evaluate, psnr_figure

Results = dict[str, dict[str, Score]]
"""Scores by source and method."""

_COLUMNS: dict[str, tuple[Callable[[Score], float], str]] = {
    "PSNR (dB)": (lambda score: score.mean("psnr"), ".2f"),
    "moving pixels (dB)": (lambda score: score.mean("psnr_moving"), ".2f"),
    "SSIM": (lambda score: score.mean("ssim"), ".4f"),
    "flow error, predicted (px)": (lambda score: score.mean("epe"), ".2f"),
    "observed (px)": (lambda score: score.mean("epe_observed"), ".2f"),
    "flicker (px)": (lambda score: score.mean("flicker"), ".3f"),
    "ms": (lambda score: score.median("ms"), ".1f"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "sources", nargs="*", help="video files, folders of images, still:IMAGE, synthetic:SEED or scene3d:SEED"
    )
    parser.add_argument(
        "--flow-pairs", metavar="FOLDER", help="measure observed flow on image pairs with .flo files in this folder"
    )
    parser.add_argument("--frames", type=int, default=120, help="frames of each source (default: %(default)s)")
    parser.add_argument("--rollout", type=int, default=1, help="frames to predict ahead (default: 1)")
    add_size_option(parser, "the frames")
    parser.add_argument(
        "--processing-size",
        type=int,
        nargs=2,
        metavar=("WIDTH", "HEIGHT"),
        help="size at which networks run (default: each checkpoint's own)",
    )
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a table for each source and one of means. Raises ValueError for sources or options that cannot be used."""
    if not arguments.sources and not arguments.flow_pairs:
        raise ValueError("nothing to evaluate: give videos, folders of images, scene3d:SEED, or --flow-pairs FOLDER")
    require_at_least({"rollout": arguments.rollout}, 1)
    require_at_least({"frames": arguments.frames}, WARM_UP + 1 + arguments.rollout)
    if arguments.size is not None and min(arguments.size) < SMALLEST:
        width, height = arguments.size
        raise ValueError(f"--size {width}x{height}: width and height must be at least {SMALLEST}")
    weights = checkpoints(arguments.model)
    results = {source: _evaluate(source, weights, arguments) for source in arguments.sources}
    shown = [
        _figures_table(f"{source}: {len(next(iter(scores.values()))['psnr'])} predictions", [scores])
        for source, scores in results.items()
    ]
    if len(results) > 1:
        shown += summary(results)
    if results and arguments.rollout > 1:
        shown.append(_rollout_table(results, arguments.rollout))
    if arguments.flow_pairs:
        shown.append(_pairs_table(weights, arguments))
    tables.show(shown, arguments.format)
    return 0


def _evaluate(source: str, weights: Mapping[str, Checkpoint | Path], arguments: argparse.Namespace) -> dict[str, Score]:
    size = None if arguments.processing_size is None else tuple(arguments.processing_size)
    networks = {name: Network(predictor(path, arguments, size)) for name, path in weights.items()}
    samples = read_samples(source, arguments.size, arguments.frames, arguments.rollout)
    return evaluate(samples, {**networks, **references()})


def read_samples(source: str, size: tuple[int, int] | None, count: int, rollout: int = 1) -> Iterable[Sample]:
    """Read the frames of a source with a progress bar on stderr.

    Args:
        source: a video, a folder of images, still:IMAGE, or a scene, which comes with true flow.
        size: (width, height) to scale to, None for the source's own.
        count: most frames to read.
        rollout: frames to predict ahead.

    Raises:
        MediaError: the source cannot be read.
        ValueError: the name of a scene cannot be used.
    """
    ahead = range(1, rollout + 1)
    return progress((replace(sample, ahead=ahead) for sample in _samples(source, size)), source, count)


def _samples(source: str, size: tuple[int, int] | None) -> Iterator[Sample]:
    if is_scene(source):
        return _scene_samples(source, size or (320, 240))
    return (Sample(image, index * PERIOD) for index, image in enumerate(_images(source, size)))


def _scene_samples(source: str, size: tuple[int, int]) -> Iterator[Sample]:
    """The frames of a scene, without end."""
    scene, t, backward = open_scene(source, *size), 0, None
    while True:
        truth = scene.truth(t)
        yield Sample(scene.frame(t), t * PERIOD, flow=truth.forward_flow, observed=backward)
        # True flow is known for every pixel; that of a newly visible pixel leads to where it was hidden.
        t, backward = t + 1, truth.backward_flow


def _images(source: str, size: tuple[int, int] | None) -> Iterator[np.ndarray]:
    """The frames of a video or folder, scaled; a still image is repeated without end."""
    still, shape = source.startswith("still:"), None
    for image in read_frames(source.removeprefix("still:")):
        if shape is not None and image.shape != shape:
            raise MediaError(f"{source}: frames of shape {shape} and {image.shape}; give frames of one size and colour")
        shape = image.shape
        if size is not None:
            image = cv2.resize(image, tuple(size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        yield image
        while still:
            yield image


def summary(results: Results) -> list[Table]:
    """PSNR of every method on every source, and the means of all figures."""
    names = ["/".join(Path(source).with_suffix("").parts[-2:]) for source in results]
    rows: list[Sequence[Cell]] = []
    for name in next(iter(results.values())):
        psnrs = [scores[name].mean("psnr") for scores in results.values()]
        rows.append([name, *figures([*psnrs, mean(psnrs)], ".2f")])
    psnr_table = Table("PSNR (dB) of the next frame", ["method", *names, "mean"], rows)
    return [psnr_table, _figures_table(f"mean of {len(results)} sources", list(results.values()))]


def _figures_table(title: str, results: Sequence[dict[str, Score]]) -> Table:
    """Means over the sources that have a figure of its means over frames, without figures that no method has."""
    names = list(results[0])
    columns: dict[str, list[Cell]] = {}
    for heading, (figure, form) in _COLUMNS.items():
        by_source = ([figure(scores[name]) for scores in results] for name in names)
        values = [mean([value for value in found if not np.isnan(value)]) for found in by_source]
        if not np.isnan(values).all():
            columns[heading] = figures(values, form)
    rows = [[name, *(column[index] for column in columns.values())] for index, name in enumerate(names)]
    return Table(title, ["method", *columns], rows)


def _rollout_table(results: Results, horizon: int) -> Table:
    title = f"PSNR (dB) of 1 to {horizon} frames ahead, mean of {len(results)} sources"
    steps = range(1, horizon + 1)
    rows: list[Sequence[Cell]] = []
    for name in next(iter(results.values())):
        scores = [by_name[name] for by_name in results.values()]
        psnrs = [mean([score.mean(psnr_figure(step)) for score in scores]) for step in steps]
        time = mean([score.median("ms_rollout") for score in scores])
        rows.append([name, *figures(psnrs, ".2f"), Figure(time, ".1f")])
    return Table(title, ["method", *map(str, steps), "rollout (ms)"], rows)


def _pairs_table(weights: Mapping[str, Checkpoint | Path], arguments: argparse.Namespace) -> Table:
    networks = {name: partial(predictor, path, arguments) for name, path in weights.items()}
    pairs: dict[str, dict[str, float]] = {}
    for name, source, target, truth in flow_pairs(arguments.flow_pairs):
        pairs[name if name not in pairs else f"{name} {len(pairs)}"] = pair_errors(source, target, truth, networks)
    estimators = list(next(iter(pairs.values())))
    pairs["mean"] = {name: mean([errors[name] for errors in pairs.values()]) for name in estimators}
    rows = [[name, *figures(errors.values(), ".2f")] for name, errors in pairs.items()]
    return Table(f"{arguments.flow_pairs}: end-point error of the observed flow (px)", ["pair", *estimators], rows)
