"""Measure networks that see events, on simulated events and on recordings of event cameras."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from stvae_ros.checkpoint import Checkpoint, find
from stvae_ros.cli import tables
from stvae_ros.cli.evaluate.options import add_run_options, figures, progress, require_at_least
from stvae_ros.cli.tables import Cell, Table
from stvae_ros.data.media import Image, read_frames
from stvae_ros.evaluation.core.loop import WARM_UP
from stvae_ros.evaluation.core.scores import Score
from stvae_ros.evaluation.events import (
    EventNetwork,
    EventSample,
    evaluate_events,
    event_methods,
    recorded,
    simulated,
    simulated_scene,
)
from stvae_ros.events.images import EventImage
from stvae_ros.events.readers import is_event_file, open_events
from stvae_ros.events.simulator import EventModel

_SCENE = (320, 240)
"""(width, height) of synthetic scenes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "sources", nargs="+", help="synthetic:SEED, videos or folders of images, events:RECORDING of an event camera"
    )
    parser.add_argument("--model", required=True, help="checkpoint of a network that sees events: a name or a path")
    parser.add_argument("--frames", type=int, default=60, help="event images of each source (default: %(default)s)")
    parser.add_argument(
        "--width", type=int, default=640, help="scale wider videos to this width (default: %(default)s)"
    )
    parser.add_argument(
        "--span",
        type=int,
        default=3,
        help="windows of events that are moved together to measure sharpness (default: 3)",
    )
    parser.add_argument(
        "--hot",
        type=float,
        default=0.001,
        help="share of a recording's pixels, those with the most events, that sharpness leaves out (default: 0.001)",
    )
    parser.add_argument("--theta", type=float, default=0.2, help="thresholds of simulated events (default: 0.2)")
    add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print up to three tables. Raises ValueError for sources, checkpoints or options that cannot be used."""
    checkpoint = Checkpoint.open(find(arguments.model))
    shown = EventImage.of_weights(checkpoint.metadata)
    if shown is None:
        raise ValueError(f"--model {arguments.model} sees the frames of a camera, not events; see docs/events.md")
    require_at_least({"span": arguments.span}, 1)
    if not 0 <= arguments.hot < 1:
        raise ValueError(f"--hot {arguments.hot}: give a share of at least 0 and below 1")
    require_at_least({"frames": arguments.frames}, WARM_UP + 2)
    results: dict[str, dict[str, Score]] = {}
    for source in arguments.sources:
        network = EventNetwork(checkpoint.network(), shown, arguments.device, arguments.precision)
        samples = progress(_open(source, shown, arguments), source, arguments.frames)
        scores = evaluate_events(samples, event_methods(network, shown), shown, arguments.span)
        if not scores["network"]["psnr"]:
            raise ValueError(f"{source}: too short; at least {WARM_UP + 2} windows of {shown.window:g} ms are needed")
        results[Path(source).name] = scores
    shown_tables = (_predictions(results), _flow(results), _sharpness(results))
    tables.show([table for table in shown_tables if table.rows], arguments.format)
    return 0


def _open(source: str, shown: EventImage, arguments: argparse.Namespace) -> Iterator[EventSample]:
    model = EventModel(theta_on=arguments.theta, theta_off=arguments.theta)
    if source.startswith("synthetic:"):
        seed = source.removeprefix("synthetic:")
        if not seed.isdecimal():
            raise ValueError(f"{source}: give synthetic:SEED")
        return simulated_scene(int(seed), _SCENE, shown, model)
    if source.startswith("events:") or is_event_file(source):
        return recorded(open_events(source.removeprefix("events:")), shown, arguments.hot)
    return simulated((_scaled(frame, arguments.width) for frame in read_frames(source)), shown, model)


def _scaled(frame: Image, width: int) -> Image:
    """Scale a frame down to a width."""
    if frame.shape[1] <= width:
        return frame
    size = (width, round(frame.shape[0] * width / frame.shape[1]))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _predictions(results: dict[str, dict[str, Score]]) -> Table:
    methods = list(next(iter(results.values())))
    rows = [
        [name, *figures((score.mean("psnr") for score in scores.values()), ".2f")] for name, scores in results.items()
    ]
    return Table("PSNR of the next event image (dB)", ["source", *methods], rows)


def _flow(results: dict[str, dict[str, Score]]) -> Table:
    headings = ["where there are events", "no flow, there", "everywhere", "no flow, everywhere"]
    rows: list[Sequence[Cell]] = []
    for name, scores in results.items():
        if scores["network"]["epe"]:
            pairs = ((method, figure) for figure in ("epe", "epe_all") for method in ("network", "copy last"))
            rows.append([name, *figures((scores[method].mean(figure) for method, figure in pairs), ".2f")])
    return Table("end-point error of the flow to the next frame (px)", ["source", *headings], rows)


def _sharpness(results: dict[str, dict[str, Score]]) -> Table:
    headings = ["without motion"]
    for kind in ("predicted", "observed"):
        headings += [f"moved by the flow {kind}", f"ratio, {kind}"]
    rows: list[Sequence[Cell]] = []
    for name, scores in results.items():
        still = scores["copy last"]["variance_predicted"]
        if not still:
            continue
        row: list[Cell] = [name, *figures([float(np.mean(still))], ".3f")]
        for figure in ("variance_predicted", "variance_observed"):
            values = scores["network"][figure]
            row += figures([scores["network"].mean(figure)], ".3f")
            row += figures([float((np.array(values) / np.maximum(still, 1e-9)).mean())], ".2f")
        rows.append(row)
    title = "variance of the image of events, and the mean of its ratio to that without motion"
    return Table(title, ["source", *headings], rows)
