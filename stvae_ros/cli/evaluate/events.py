"""`stvae evaluate events`: networks that see events, on simulated events and on recordings of event cameras."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from stvae_ros.checkpoint import Checkpoint, find
from stvae_ros.cli.tables import figures_table
from stvae_ros.data.media import Image, read_frames
from stvae_ros.evaluation.events import (
    WARM_UP,
    EventPredictor,
    EventScore,
    SeenEvents,
    evaluate_events,
    recorded,
    simulated,
    simulated_scene,
)
from stvae_ros.events.images import EventImage
from stvae_ros.events.readers import is_event_file, open_events
from stvae_ros.events.simulator import EventModel

_SCENE = (320, 240)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "sources", nargs="+", help="synthetic:SEED, videos or folders of images, events:RECORDING of an event camera"
    )
    parser.add_argument("--model", required=True, help="weights of a network that sees events: a name or a path")
    parser.add_argument("--frames", type=int, default=60, help="event images of each source (default: %(default)s)")
    parser.add_argument("--width", type=int, default=640, help="scale wider videos down to this (default: %(default)s)")
    parser.add_argument(
        "--span", type=int, default=3, help="windows of events moved together to see how sharp they become (default: 3)"
    )
    parser.add_argument(
        "--hot",
        type=float,
        default=0.001,
        help="share of the pixels, those with the most events of a recording, left out of that (default: 0.001)",
    )
    parser.add_argument("--theta", type=float, default=0.2, help="thresholds of simulated events (default: 0.2)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")


def run(arguments: argparse.Namespace) -> int:
    """Print up to three tables. Raises ValueError for sources, weights or options that cannot be used."""
    checkpoint = Checkpoint.open(find(arguments.model))
    shown = EventImage.of_weights(checkpoint.metadata)
    if shown is None:
        raise ValueError(f"--model {arguments.model} sees the frames of a camera, not events; see docs/events.md")
    if arguments.span < 1:
        raise ValueError(f"--span {arguments.span}: give at least 1")
    if not 0 <= arguments.hot < 1:
        raise ValueError(f"--hot {arguments.hot}: give a share of at least 0 and below 1")
    if arguments.frames < WARM_UP + 2:
        raise ValueError(f"--frames {arguments.frames}: give at least {WARM_UP + 2}")
    scores: dict[str, EventScore] = {}
    for source in arguments.sources:
        predictor = EventPredictor(checkpoint.network(), shown, arguments.device, arguments.precision)
        seen = track(
            islice(_open(source, shown, arguments), arguments.frames),
            description=source,
            total=arguments.frames,
            console=Console(stderr=True),
            transient=True,
        )
        scores[Path(source).name] = evaluate_events(seen, predictor, shown, arguments.span)
        if not scores[Path(source).name].psnr:
            raise ValueError(f"{source}: too short; at least {WARM_UP + 2} windows of {shown.window:g} ms are needed")
    console = Console()
    console.print(_predictions(scores))
    if any(score.errors for score in scores.values()):
        console.print(_flow(scores))
    if any(score.variances for score in scores.values()):
        console.print(_sharpness(scores))
    return 0


def _open(source: str, shown: EventImage, arguments: argparse.Namespace) -> Iterator[SeenEvents]:
    model = EventModel(theta_on=arguments.theta, theta_off=arguments.theta)
    if source.startswith("synthetic:"):
        seed = source.removeprefix("synthetic:")
        if not seed.isdecimal():
            raise ValueError(f"{source}: give synthetic:SEED")
        return simulated_scene(int(seed), _SCENE, shown, model)
    if source.startswith("events:") or is_event_file(source):
        return recorded(open_events(source.removeprefix("events:")), shown, arguments.hot)
    return simulated((_narrow(frame, arguments.width) for frame in read_frames(source)), shown, model)


def _narrow(frame: Image, width: int) -> Image:
    if frame.shape[1] <= width:
        return frame
    size = (width, round(frame.shape[0] * width / frame.shape[1]))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _predictions(scores: dict[str, EventScore]) -> Table:
    table = figures_table("PSNR of the next event image (dB)", ("", "network", "copy last", "empty image"))
    for name, score in scores.items():
        table.add_row(name, *(f"{np.mean(values):.2f}" for values in (score.psnr, score.copy, score.empty)))
    return table


def _flow(scores: dict[str, EventScore]) -> Table:
    headings = ("", "where there are events", "no flow, there", "everywhere", "no flow, everywhere")
    table = figures_table("end-point error of the flow to the next frame (px)", headings)
    for name, score in scores.items():
        if score.errors:
            columns = (score.errors, score.zero, score.errors_all, score.zero_all)
            table.add_row(name, *(f"{np.mean(values):.2f}" for values in columns))
    return table


def _sharpness(scores: dict[str, EventScore]) -> Table:
    title = "variance of the image of events, and the mean of its ratio to that of the events as they are"
    table = figures_table(title, ("", "as they are", "moved by the flow predicted", "moved by the flow observed"))
    for name, score in scores.items():
        if score.variances:
            values = np.array(score.variances)
            ratios = (values / np.maximum(values[:, :1], 1e-9)).mean(axis=0)
            cells = [f"{mean:.3f} ({ratio:.2f})" for mean, ratio in zip(values.mean(axis=0), ratios, strict=True)]
            table.add_row(name, cells[0].split()[0], *cells[1:])
    return table
