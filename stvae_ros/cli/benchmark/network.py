"""Measure the speed of the network beside OpenCV's DIS flow, and what the node adds to it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from stvae_ros.checkpoint import Checkpoint, find
from stvae_ros.cli.processes import Nodes, ROSMissingError
from stvae_ros.cli.tables import figures_table
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.core.classical_flow import FlowFunction, dis_flow, grey
from stvae_ros.evaluation.cost import copy_rate, matmul_rate, operator_shares, step_cost
from stvae_ros.runtime.device import DTYPES
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.flow import Image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--model", nargs="+", default=["stvae-rt-m"], help="weights: names or paths (default: stvae-rt-m)"
    )
    parser.add_argument(
        "--size", type=int, nargs=2, action="append", metavar=("WIDTH", "HEIGHT"), help="default: 320 240; repeatable"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", nargs="+", default=["auto"], help="default: auto")
    parser.add_argument("--num-threads", type=int, default=0, help="parameter of the node (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=60, help="frames timed in each row (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, nargs="+", default=[15.0, 30.0], help="frames per second for the node (default: 15 30)"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of frames at each rate (default: %(default)s)")
    parser.add_argument("--skip-node", action="store_true", help="leave out the node, which needs ROS")
    parser.add_argument("--operators", action="store_true", help="show where the time of a network goes")


def run(arguments: argparse.Namespace) -> int:
    """Print the tables. Raises ValueError for weights, device, precision or numbers that cannot be used."""
    if arguments.repeats < 1:
        raise ValueError(f"--repeats {arguments.repeats}: give at least 1")
    if min(arguments.rate) <= 0 or min(arguments.rate) * arguments.seconds < 1:
        raise ValueError("--rate and --seconds must be positive, and enough for a frame")
    console = Console()
    for width, height in arguments.size or [(320, 240)]:
        console.print(_network_table(arguments, width, height))
    if arguments.operators:
        console.print(_operator_table(arguments))
    if not arguments.skip_node:
        try:
            console.print(_node_table(arguments))
        except ROSMissingError as error:
            console.print(f"the node was not measured: {error}")
    return 0


def _network_table(arguments: argparse.Namespace, width: int, height: int) -> Table:
    """Median of alternating runs, so that a slow moment of the machine falls on every row."""
    title = f"one frame of {width}x{height}, medians of {arguments.repeats}; {torch.get_num_threads()} threads"
    headings = ("", "ms", "frames/s", "x DIS medium", "GFLOP", "as matmul (ms)", "MB", "as copy (ms)")
    table = figures_table(title, headings)
    scene = SyntheticScene(0, width, height)
    frames = [scene.frame(t) for t in range(16)]
    rows: dict[str, Callable[[int], object]] = {}
    floors: dict[str, list[str]] = {}
    reasons: list[str] = []
    for model, precision in product(arguments.model, dict.fromkeys(arguments.precision)):
        checkpoint = Checkpoint.open(find(model))
        predictor = StreamingPredictor.from_weights(
            checkpoint, (width, height), device=arguments.device, precision=precision
        )
        name = f"{model} ({predictor.device}, {predictor.precision})"
        if precision == "auto":
            reasons.append(f"{model} is in {predictor.precision}: {predictor.precision_reason}")
        rows[name] = _stepper(predictor, frames)
        cost = step_cost(checkpoint.network(), width, height)
        dtype = DTYPES[predictor.precision]
        traffic = cost.least_bytes(dtype.itemsize)
        floors[name] = [
            f"{cost.flops / 1e9:.2f}",
            f"{cost.flops / matmul_rate(predictor.device, dtype) * 1e3:.1f}",
            f"{traffic / 1e6:.1f}",
            f"{traffic / copy_rate(predictor.device) * 1e3:.1f}",
        ]
    for preset in ("ultrafast", "fast", "medium"):
        rows[f"OpenCV DIS {preset} (cpu)"] = _classical(dis_flow(preset), [grey(frame) for frame in frames])
    medians = _alternate(rows, arguments.repeats)
    for name, milliseconds in medians.items():
        ratio = milliseconds / medians["OpenCV DIS medium (cpu)"]
        figures = [f"{milliseconds:.1f}", f"{1e3 / milliseconds:.0f}", f"{ratio:.2f}"]
        table.add_row(name, *figures, *floors.get(name, ["-"] * 4))
    table.caption = "\n".join(reasons)
    return table


def _operator_table(arguments: argparse.Namespace) -> Table:
    width, height = (arguments.size or [(320, 240)])[0]
    scene = SyntheticScene(0, width, height)
    frames = [scene.frame(t) for t in range(16)]
    title = f"share of the time of a step at {width}x{height} by operator of PyTorch"
    table = figures_table(title, ("", "operators"), words=2)
    for model in arguments.model:
        predictor = StreamingPredictor.from_weights(
            find(model), (width, height), device=arguments.device, precision=arguments.precision[0]
        )
        step = _stepper(predictor, frames)
        for t in range(5):
            step(t)
        shares = operator_shares(lambda step=step: [step(t) for t in range(5, 15)], 8)  # type: ignore[misc]
        table.add_row(model, ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    return table


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
    """The real node over DDS on 640x480 colour, with subscribers to ~/flow and ~/prediction alone."""
    runs = {f"{rate:g} Hz": _measure_node(arguments, rate) for rate in arguments.rate}
    processed = ", ".join(f"{run['frames processed']} of {run['frames shown']} at {name}" for name, run in runs.items())
    headings = [heading for name in runs for heading in (f"{name}: median", "99th percentile")]
    title = f"perception_node over DDS, 640x480, ms; frames processed: {processed}"
    table = figures_table(title, ("stage", *headings))
    for stage in next(iter(runs.values()))["stages"]:
        figures = [figure for run in runs.values() for figure in run["stages"][stage]]
        table.add_row(stage, *(f"{figure:.2f}" for figure in figures))
    return table


def _measure_node(arguments: argparse.Namespace, rate: float) -> dict[str, Any]:
    with Nodes() as nodes:
        nodes.start(
            "perception_node",
            {"model": arguments.model[0], "device": arguments.device, "num_threads": arguments.num_threads},
        )
        probe = nodes.start("latency_probe", {"rate": rate, "frames": int(arguments.seconds * rate)}, stdout=True)
        return nodes.figures(probe)
