"""Measure the time of each output topic, beside that of the network."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from stvae_ros.checkpoint import open_frame_model
from stvae_ros.cli.tables import Cell, Figure, Table, add_format_option, show
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.camera_events import CameraEvents
from stvae_ros.streaming.labels import LabelPropagator
from stvae_ros.streaming.outputs import OUTPUTS, CameraState
from stvae_ros.streaming.step_result import FramePrediction
from stvae_ros.visualization.label_colors import ClassTable

_NETWORK = "network, scaling of the frame"
_LEFT_OUT = 5
"""Number of first frames that are not counted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--model", default="stvae-rt-m", help="checkpoint: name or path (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        action="append",
        metavar=("WIDTH", "HEIGHT"),
        help="of the camera's frames, may be repeated (default: 320 240 and 640 480)",
    )
    parser.add_argument("--frames", type=int, default=60, help="timed frames of each size (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    add_format_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table. Raises ValueError for a checkpoint, device, precision or number that cannot be used."""
    if arguments.frames < 1:
        raise ValueError(f"--frames {arguments.frames}: give at least 1")
    weights = open_frame_model(arguments.model)
    predictor = StreamingPredictor.from_weights(weights, device=arguments.device, precision=arguments.precision)
    predictor.warm_up()
    cv2.setNumThreads(torch.get_num_threads())
    sizes = arguments.size or [(320, 240), (640, 480)]
    columns = {f"{w}x{h}": _medians(predictor, (w, h), arguments.frames) for w, h in sizes}
    width, height = predictor.processing_size
    title = (
        f"{Path(arguments.model).stem} at {width}x{height}, {predictor.device}, {predictor.precision}, "
        f"{torch.get_num_threads()} threads: ms a frame, medians of {arguments.frames}; each output by itself"
    )
    names = next(iter(columns.values()))
    lines: list[list[Cell]] = [[name, *(Figure(each[name], ".2f") for each in columns.values())] for name in names]
    show([Table(title, ("output", *columns), lines)], arguments.format)
    return 0


def _medians(predictor: StreamingPredictor, size: tuple[int, int], count: int) -> dict[str, float]:
    """Median milliseconds of the network and of each output, without the outputs of labels."""
    scene = SyntheticScene(7, *size)
    propagator, classes = LabelPropagator(), ClassTable()
    wanted = [output for output in OUTPUTS if not output.name.startswith("labels")]
    states = {output.name: CameraState(propagator) for output in wanted}
    events = {output.name: CameraEvents() for output in wanted}
    previous: dict[str, FramePrediction] = {}
    times: dict[str, list[float]] = {_NETWORK: [], **{f"~/{output.name}": [] for output in wanted}}
    predictor.reset()
    for t in track(range(count + _LEFT_OUT), f"{size[0]}x{size[1]}", console=Console(stderr=True), transient=True):
        frame = Frame(scene.frame(t), t * 33_333_333)
        start = time.perf_counter()
        motion = predictor.step({"camera": frame})["camera"]
        spent = {_NETWORK: time.perf_counter() - start}
        assert motion is not None
        for output in wanted:
            # Each output gets its own copy of the result, so that none profits from what another has computed.
            views = [replace(view) for view in motion.views]
            own = replace(motion, views=views, previous=previous.get(output.name))
            previous[output.name] = views[0]
            start = time.perf_counter()
            output.make(states[output.name].advance(own, [output], classes, events[output.name]))
            spent[f"~/{output.name}"] = time.perf_counter() - start
        if t >= _LEFT_OUT:
            for name, seconds in spent.items():
                times[name].append(seconds * 1e3)
    return {name: float(np.median(values)) for name, values in times.items()}
