"""Measure networks on the cameras of rosbags, frame by frame as on the robot, and write a report."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from stvae_ros.cli import tables
from stvae_ros.cli.evaluate.options import add_run_options, checkpoints, figures, require_at_least
from stvae_ros.cli.tables import Cell, Table
from stvae_ros.data.bags.bag import EVENT_PACKET, Bag, BagError
from stvae_ros.evaluation.bags.report import figure_rows, is_measured, mean_figures, merge, verdict
from stvae_ros.evaluation.bags.run import BagOptions, Stream, is_done
from stvae_ros.evaluation.bags.workers import run_processes, run_ray, watch
from stvae_ros.evaluation.core.loop import WARM_UP
from stvae_ros.streaming.outputs import OUTPUTS

_WORK = ".work"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("bags", nargs="+", metavar="BAG", help="folders, .mcap or .db3 files")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for the report, the metrics and the bags of outputs"
    )
    parser.add_argument("--topic", nargs="+", default=[], help="cameras (default: all topics of images)")
    parser.add_argument(
        "--model", nargs="+", default=["stvae-rt-m"], help="checkpoints; the first one makes the outputs"
    )
    parser.add_argument("--start", type=float, default=0.0, help="seconds at the start of each bag to leave out")
    parser.add_argument("--duration", type=float, help="seconds to evaluate (default: to the end)")
    parser.add_argument("--every", type=int, default=1, help="measure every N-th frame; the network sees all frames")
    parser.add_argument(
        "--outputs",
        nargs="*",
        choices=[output.name for output in OUTPUTS],
        default=[output.name for output in OUTPUTS],
        metavar="NAME",
        help="topics of the bag of outputs (default: all; without a name, no bag is written)",
    )
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap", help="storage of the bag of outputs")
    parser.add_argument(
        "--flow-topic", help="topic of the true flow, 32FC2 (default: ground_truth/flow beside the camera)"
    )
    parser.add_argument("--labels-topic", help="topic of the labels (default: ground_truth/labels beside the camera)")
    parser.add_argument(
        "--label-interval", type=float, default=1.0, help="seconds from given labels to given labels (default: 1)"
    )
    parser.add_argument("--label-classes", help="YAML table of class names and colours (default: config/labels.yaml)")
    parser.add_argument("--video", type=float, default=10.0, help="seconds of video in the report (default: 10)")
    parser.add_argument("--workers", type=int, default=1, help="cameras that are evaluated at a time (default: 1)")
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of each worker; the last digits depend on it (default: 2)"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="evaluate on a Ray cluster: its address, auto, or local")
    parser.add_argument(
        "--processing-size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="size of frames in the networks"
    )
    parser.add_argument(
        "--max-gap", type=float, default=1.0, help="longest gap in seconds that keeps the memory (default: 1)"
    )
    parser.add_argument(
        "--significant-bits",
        type=int,
        choices=range(8, 17),
        default=16,
        metavar="BITS",
        help="bits that 16-bit images use, 8 to 16 (default: 16)",
    )
    add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and write the report. Cameras that an interrupted run has finished are not evaluated again.

    Returns:
        1 if some camera could not be evaluated, or all have too few frames, else 0.

    Raises:
        ValueError: the options or all of the bags cannot be used.
    """
    options = _options(arguments)
    console = Console(stderr=True)
    streams, failed = _plan(arguments.bags, arguments.topic, console)
    for bag, reason in failed.items():
        console.print(f"{bag} is left out: {reason}", style="red", highlight=False, soft_wrap=True)
    if not streams:
        raise ValueError("; ".join(f"{bag}: {reason}" for bag, reason in failed.items()))
    work = arguments.output / _WORK
    open_streams = [stream for stream in streams if not is_done(stream, options, work / stream.name)]
    if len(open_streams) < len(streams):
        console.print(f"{len(streams) - len(open_streams)} cameras were finished by an earlier run")
    work.mkdir(parents=True, exist_ok=True)
    problems = _evaluate(open_streams, options, work, arguments, console)
    done = [stream for stream in streams if stream.name not in problems]
    for stream in streams:
        if stream.name in problems:
            failed[f"{stream.bag} {stream.topic}"] = reason = problems[stream.name]
            failure = f"{stream.bag} {stream.topic} failed: {reason}"
            console.print(failure, style="red", highlight=False, soft_wrap=True)
    if not done:
        raise ValueError("nothing could be evaluated")
    summaries = merge(done, failed, work, arguments.output, arguments.command_line)
    for summary in summaries:
        for problem in (*summary["problems"], *summary["losses"]):
            console.print(problem, style="yellow", highlight=False, soft_wrap=True)
    measured = [summary for summary in summaries if is_measured(summary)]
    shown = [_table(f"{summary['name']}: {summary['frames']} frames", summary["methods"]) for summary in measured]
    if len(measured) > 1:
        shown.append(_table(f"mean of {len(measured)} cameras", mean_figures(measured)))
    tables.show(shown, arguments.format)
    for sentence in verdict(mean_figures(measured), measured[0]["ours"]) if measured else []:
        console.print(sentence, highlight=False, soft_wrap=True)
    for summary in (summary for summary in summaries if not is_measured(summary)):
        console.print(
            f"{summary['name']}: {summary['frames']} frames are too few to measure; the first {WARM_UP} do not count",
            style="red",
            highlight=False,
            soft_wrap=True,
        )
    if not failed:
        shutil.rmtree(work)
    console.print(f"report: {arguments.output / 'report.html'}", highlight=False, soft_wrap=True)
    return 1 if failed or not measured else 0


def _options(arguments: argparse.Namespace) -> BagOptions:
    require_at_least({name: getattr(arguments, name) for name in ("every", "workers", "threads")}, 1)
    require_at_least({name: getattr(arguments, name) for name in ("start", "video")}, 0)
    for name in ("duration", "label_interval", "max_gap"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name.replace('_', '-')} {value}: must be more than 0")
    checkpoints(arguments.model)
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in vars(arguments).items()
    }
    names = {field.name for field in fields(BagOptions)}
    return BagOptions(models=given["model"], **{name: value for name, value in given.items() if name in names})


def _plan(paths: Sequence[str], topics: Sequence[str], console: Console) -> tuple[list[Stream], dict[str, str]]:
    """Find the cameras of all bags, and the reason for each bag without one. Prints which topics are left out."""
    streams: list[Stream] = []
    failed: dict[str, str] = {}
    for path in paths:
        try:
            bag = Bag(path)
            found = [topic for topic in topics if topic in bag.topics] if topics else bag.cameras()
            for name, reason in sorted(bag.no_cameras.items()):
                console.print(f"{path}: topic {name} is left out: {reason}", highlight=False, soft_wrap=True)
            if not found:
                wanted = f"none of {', '.join(topics)} is there" if topics else "no topic can be a camera"
                events = any(topic.kind == EVENT_PACKET for topic in bag.topics.values())
                remedy = f"; for event cameras: stvae evaluate events events:{path}" if events and not topics else ""
                raise BagError(f"{path}: {wanted}; topics are: {', '.join(sorted(bag.topics))}{remedy}")
        except (ValueError, OSError) as error:
            failed[path] = str(error).removeprefix(f"{path}: ")
            continue
        for topic in found:
            camera = re.sub(r"\W+", "_", topic).strip("_")
            name = f"{bag.name}-{camera}"
            taken = sum(stream.name == name or stream.name.startswith(f"{name}-") for stream in streams)
            prefix = "/perception" if len(found) == 1 else f"/perception/{camera}"
            streams.append(Stream(str(Path(path).resolve()), topic, f"{name}-{taken + 1}" if taken else name, prefix))
    return streams, failed


def _evaluate(
    streams: Sequence[Stream], options: BagOptions, work: Path, arguments: argparse.Namespace, console: Console
) -> Mapping[str, str]:
    if not streams:
        return {}
    finished = (
        run_processes(streams, options, work.resolve(), arguments.workers)
        if arguments.ray is None
        else run_ray(streams, options, work.resolve(), arguments.ray)
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks = {stream: progress.add_task(stream.name, total=1.0) for stream in streams}
        return watch(finished, streams, work, lambda stream, share: progress.update(tasks[stream], completed=share))


def _table(title: str, methods: Mapping[str, Any]) -> Table:
    """A row for each figure, a column for each method."""
    headings, values = figure_rows(methods)
    rows: list[Sequence[Cell]] = []
    name = ""
    for index, heading in enumerate(headings):
        name = name if heading.text == "moving" else heading.text
        text = f"{name}, moving" if heading.text == "moving" else name
        rows.append([text, *figures((row[index] for row in values.values()), heading.form)])
    return Table(title, ["figure", *values], rows)
