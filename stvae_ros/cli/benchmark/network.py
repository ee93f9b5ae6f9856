"""Measure the speed of networks beside OpenCV's DIS flow, and the time that the node adds."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import cv2
import numpy as np
import torch

from stvae_ros.checkpoint import Checkpoint, find
from stvae_ros.cli.processes import Nodes, ROSMissingError
from stvae_ros.cli.tables import Cell, Figure, Table, add_format_option, show
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.core.classical_flow import FlowFunction, dis_flow, grey
from stvae_ros.evaluation.cost import copy_rate, matmul_rate, operator_shares, step_cost
from stvae_ros.runtime.device import DTYPES
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.flow import Image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--model", nargs="+", default=["stvae-rt-m"], help="checkpoints: names or paths (default: stvae-rt-m)"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        action="append",
        metavar=("WIDTH", "HEIGHT"),
        help="may be repeated (default: 320 240)",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", nargs="+", default=["auto"], help="default: auto")
    parser.add_argument("--num-threads", type=int, default=0, help="parameter of the node (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=60, help="timed frames in each row (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, nargs="+", default=[15.0, 30.0], help="frame rates for the node in Hz (default: 15 30)"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="duration at each rate (default: %(default)s)")
    parser.add_argument("--skip-node", action="store_true", help="do not measure the node, which needs ROS")
    parser.add_argument("--operators", action="store_true", help="show the share of each PyTorch operator")
    add_format_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the tables. Raises ValueError for a checkpoint, device, precision or number that cannot be used."""
    if arguments.repeats < 1:
        raise ValueError(f"--repeats {arguments.repeats}: give at least 1")
    if min(arguments.rate) <= 0 or min(arguments.rate) * arguments.seconds < 1:
        raise ValueError("--rate and --seconds must be positive, and long enough for one frame")
    tables = [_network_table(arguments, width, height) for width, height in arguments.size or [(320, 240)]]
    if arguments.operators:
        tables.append(_operator_table(arguments))
    if not arguments.skip_node:
        try:
            tables.append(_node_table(arguments))
        except ROSMissingError as error:
            print(f"the node was not measured: {error}", file=sys.stderr)
    show(tables, arguments.format)
    return 0


def _network_table(arguments: argparse.Namespace, width: int, height: int) -> Table:
    """Medians of alternating runs, so that a slow moment of the machine affects each row."""
    title = f"one frame of {width}x{height}, medians of {arguments.repeats}; {torch.get_num_threads()} threads"
    headings = (
        "method",
        "ms",
        "frames/s",
        "x DIS medium",
        "GFLOP",
        "as matmul (ms)",
        "MB",
        "as copy (ms)",
        "precision",
    )
    scene = SyntheticScene(0, width, height)
    frames = [scene.frame(t) for t in range(16)]
    rows: dict[str, Callable[[int], object]] = {}
    floors: dict[str, list[Cell]] = {}
    for model, precision in product(arguments.model, dict.fromkeys(arguments.precision)):
        checkpoint = Checkpoint.open(find(model))
        predictor = StreamingPredictor.from_weights(
            checkpoint, (width, height), device=arguments.device, precision=precision
        )
        name = f"{model} ({predictor.device}, {predictor.precision})"
        rows[name] = _stepper(predictor, frames)
        cost = step_cost(checkpoint.network(), width, height)
        dtype = DTYPES[predictor.precision]
        traffic = cost.least_bytes(dtype.itemsize)
        floors[name] = [
            Figure(cost.flops / 1e9, ".2f"),
            Figure(cost.flops / matmul_rate(predictor.device, dtype) * 1e3, ".1f"),
            Figure(traffic / 1e6, ".1f"),
            Figure(traffic / copy_rate(predictor.device) * 1e3, ".1f"),
            predictor.precision_reason,
        ]
    for preset in ("ultrafast", "fast", "medium"):
        rows[f"OpenCV DIS {preset} (cpu)"] = _classical(dis_flow(preset), [grey(frame) for frame in frames])
    medians = _alternate(rows, arguments.repeats)
    lines: list[list[Cell]] = []
    for name, milliseconds in medians.items():
        ratio = milliseconds / medians["OpenCV DIS medium (cpu)"]
        figures = (Figure(milliseconds, ".1f"), Figure(1e3 / milliseconds, ".0f"), Figure(ratio, ".2f"))
        lines.append([name, *figures, *floors.get(name, [None] * 5)])
    return Table(title, headings, lines)


def _operator_table(arguments: argparse.Namespace) -> Table:
    width, height = (arguments.size or [(320, 240)])[0]
    scene = SyntheticScene(0, width, height)
    frames = [scene.frame(t) for t in range(16)]
    title = f"share of the time of a step at {width}x{height} by operator of PyTorch"
    lines = []
    for model in arguments.model:
        predictor = StreamingPredictor.from_weights(
            find(model), (width, height), device=arguments.device, precision=arguments.precision[0]
        )
        step = _stepper(predictor, frames)
        for t in range(5):
            step(t)
        shares = operator_shares(lambda step=step: [step(t) for t in range(5, 15)], 8)  # type: ignore[misc]
        lines.append([model, ", ".join(f"{name} {share:.0%}" for name, share in shares.items())])
    return Table(title, ("network", "operators"), lines)


def _stepper(predictor: StreamingPredictor, frames: list[Image]) -> Callable[[int], object]:
    predictor.warm_up()
    return lambda t: predictor.step({"camera": Frame(frames[t % len(frames)], t * 33_000_000)})


def _classical(flow: FlowFunction, greys: list[Image]) -> Callable[[int], object]:
    return lambda t: flow(greys[t % len(greys)], greys[(t + 1) % len(greys)])


def _alternate(rows: dict[str, Callable[[int], object]], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in rows}
    cv2.setNumThreads(torch.get_num_threads())
    for t in range(repeats + 5):
        for name, call in rows.items():
            start = time.perf_counter()
            call(t)
            if t >= 5:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: float(np.median(values)) for name, values in times.items()}


def _node_table(arguments: argparse.Namespace) -> Table:
    """The real node over DDS on 640x480 colour, with subscribers to ~/flow and ~/prediction only."""
    runs = {f"{rate:g} Hz": _measure_node(arguments, rate) for rate in arguments.rate}
    processed = ", ".join(f"{run['frames processed']} of {run['frames shown']} at {name}" for name, run in runs.items())
    headings = [f"{name}: {kind}" for name in runs for kind in ("median", "99th percentile")]
    title = f"perception_node over DDS, 640x480, ms; frames processed: {processed}"
    stages = next(iter(runs.values()))["stages"]
    lines = [[stage, *(Figure(x, ".2f") for run in runs.values() for x in run["stages"][stage])] for stage in stages]
    return Table(title, ("stage", *headings), lines)


def _measure_node(arguments: argparse.Namespace, rate: float) -> dict[str, Any]:
    with Nodes() as nodes:
        nodes.start(
            "perception_node",
            {"model": arguments.model[0], "device": arguments.device, "num_threads": arguments.num_threads},
        )
        probe = nodes.start("latency_probe", {"rate": rate, "frames": int(arguments.seconds * rate)}, stdout=True)
        return nodes.figures(probe)
