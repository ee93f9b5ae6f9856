"""Measure the speed of the network beside OpenCV's DIS flow, and what the node adds to it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from stvae_ros import zoo
from stvae_ros.cli.processes import Nodes, ROSMissingError
from stvae_ros.data.synthetic import SyntheticScene
from stvae_ros.evaluation.cost import matmul_rate, step_cost
from stvae_ros.evaluation.references import FlowFunction, dis_flow, grey
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.device import DTYPES
from stvae_ros.streaming.flow import Image

_RATES = (15, 30)
"""Frames per second of the camera: one that leaves a CPU time to spare, and one that may not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--model", default="ae-convlstm-flow", help="weights: a name or a path (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", nargs="+", default=["auto", "fp32"], help="default: auto fp32")
    parser.add_argument("--num-threads", type=int, default=0, help="parameter of the node (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=60, help="frames timed in each row (default: %(default)s)")
    parser.add_argument("--skip-node", action="store_true", help="leave out the node, which needs ROS")


def run(arguments: argparse.Namespace) -> int:
    """Print the tables. Raises ValueError for weights, device, precision or numbers that cannot be used."""
    if arguments.repeats < 1:
        raise ValueError(f"--repeats {arguments.repeats}: give at least 1")
    console = Console()
    console.print(_network_table(arguments))
    if not arguments.skip_node:
        try:
            console.print(_node_table(arguments))
        except ROSMissingError as error:
            console.print(f"the node was not measured: {error}")
    return 0


def _network_table(arguments: argparse.Namespace) -> Table:
    """Median of alternating runs, so that a slow moment of the machine falls on every row."""
    weights = zoo.find(arguments.model)
    table = Table(title=f"one frame, medians of {arguments.repeats}; {torch.get_num_threads()} threads")
    for heading in ("", "size", "ms", "frames/s", "x DIS medium", "GFLOP", "as matmul (ms)"):
        table.add_column(heading, justify="right" if heading else "left")
    for width, height in ((160, 120), (320, 240)):
        scene = SyntheticScene(0, width, height)
        frames = [scene.frame(t) for t in range(16)]
        rows: dict[str, Callable[[int], object]] = {}
        costs: dict[str, tuple[float, float]] = {}
        for precision in dict.fromkeys(arguments.precision):
            predictor = StreamingPredictor.from_weights(
                weights, device=arguments.device, precision=precision, processing_size=(width, height)
            )
            name = f"{arguments.model} ({predictor.device}, {predictor.precision})"
            rows[name] = _stepper(predictor, frames)
            flops = step_cost(zoo.load(weights), width, height).flops
            rate = matmul_rate(predictor.device, DTYPES[predictor.precision])
            costs[name] = (flops / 1e9, flops / rate * 1e3)
        for preset in ("ultrafast", "fast", "medium"):
            rows[f"OpenCV DIS {preset} (cpu)"] = _classical(dis_flow(preset), [grey(frame) for frame in frames])
        medians = _alternate(rows, arguments.repeats)
        for name, milliseconds in medians.items():
            gflop, floor = costs.get(name, (None, None))
            table.add_row(
                name,
                f"{width}x{height}",
                f"{milliseconds:.1f}",
                f"{1e3 / milliseconds:.0f}",
                f"{milliseconds / medians['OpenCV DIS medium (cpu)']:.2f}",
                "-" if gflop is None else f"{gflop:.2f}",
                "-" if floor is None else f"{floor:.1f}",
            )
        table.add_section()
    return table


def _stepper(predictor: StreamingPredictor, frames: list[Image]) -> Callable[[int], object]:
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
    runs = {f"{rate} Hz": _measure_node(arguments, rate) for rate in _RATES}
    processed = ", ".join(f"{run['frames processed']} of {run['frames shown']} at {name}" for name, run in runs.items())
    table = Table(title=f"perception_node over DDS, 640x480, ms; frames processed: {processed}")
    table.add_column("stage")
    for name in runs:
        table.add_column(f"{name}: median", justify="right")
        table.add_column("99th percentile", justify="right")
    for stage in next(iter(runs.values()))["stages"]:
        figures = [figure for run in runs.values() for figure in run["stages"][stage]]
        table.add_row(stage, *(f"{figure:.2f}" for figure in figures))
    return table


def _measure_node(arguments: argparse.Namespace, rate: int) -> dict[str, Any]:
    with Nodes() as nodes:
        nodes.start(
            "perception_node",
            {"model": arguments.model, "device": arguments.device, "num_threads": arguments.num_threads},
        )
        probe = nodes.start("latency_probe", {"rate": float(rate), "frames": 10 * rate}, stdout=True)
        while probe.poll() is None:
            failed = nodes.failed()
            if failed is not None:
                raise RuntimeError(failed)
            time.sleep(0.1)
        assert probe.stdout is not None
        figures: dict[str, Any] = json.loads(probe.stdout.read())
        return figures
