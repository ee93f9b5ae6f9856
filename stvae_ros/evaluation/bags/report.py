"""The results of all streams: a table of all frames, a table of figures, and a report for the browser."""

from __future__ import annotations

import base64
import datetime
import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jinja2
import numpy as np

import stvae_ros
from stvae_ros.evaluation.bags.charts import curves, histogram, is_instant, method_colors
from stvae_ros.evaluation.bags.pictures import BRIGHTER, full_colour
from stvae_ros.evaluation.bags.run import OUTPUT_BAG, ROWS, SUMMARY, VIDEO, Stream
from stvae_ros.evaluation.bags.scores import COLUMNS
from stvae_ros.evaluation.core.loop import WARM_UP
from stvae_ros.evaluation.core.metrics import MOVING
from stvae_ros.files import replaced
from stvae_ros.visualization.flow_color import draw_wheel

_REFERENCES = {"DIS medium": "DIS medium", "copy last": "copying the last frame"}
"""Methods that the verdict compares with."""
_VIDEOS = 80_000_000
"""Most bytes of video in a report; further cameras have no video."""


class _Heading(NamedTuple):
    text: str
    column: str
    meaning: str
    form: str
    lower_is_better: bool = False
    figure: str = "mean"


HEADINGS = (
    _Heading("PSNR (dB)", "psnr", COLUMNS["psnr"], ".2f"),
    _Heading("moving", "psnr_moving", COLUMNS["psnr_moving"], ".2f"),
    _Heading("SSIM", "ssim", COLUMNS["ssim"], ".4f"),
    _Heading("moving", "ssim_moving", COLUMNS["ssim_moving"], ".4f"),
    _Heading("MS-SSIM", "ms_ssim", COLUMNS["ms_ssim"], ".4f"),
    _Heading("moving", "ms_ssim_moving", COLUMNS["ms_ssim_moving"], ".4f"),
    _Heading("photometric", "photometric", COLUMNS["photometric"], ".4f", True),
    _Heading("EPE (px)", "epe", COLUMNS["epe"], ".2f", True),
    _Heading("2 ahead (dB)", "psnr_2", COLUMNS["psnr_2"], ".2f"),
    _Heading("5 ahead (dB)", "psnr_5", COLUMNS["psnr_5"], ".2f"),
    _Heading("label mIoU", "label_miou", COLUMNS["label_miou"], ".3f"),
    _Heading("label accuracy", "label_accuracy", COLUMNS["label_accuracy"], ".3f"),
    _Heading("ms, median", "latency_ms", COLUMNS["latency_ms"], ".1f", True, "p50"),
    _Heading("ms, 99 %", "latency_ms", f"{COLUMNS['latency_ms']}, 99th percentile", ".1f", True, "p99"),
)


def merge(
    streams: Sequence[Stream], failed: Mapping[str, str], work: Path, output: Path, command: str
) -> list[dict[str, Any]]:
    """Write metrics.csv, metrics.json, report.html and bags/.

    Each file is written whole or not at all, the report last.

    Args:
        streams: the streams that were evaluated; the results have this order.
        failed: the reasons of failures by bag or camera.
        work: folder of the streams' folders of results.
        output: folder to write to.
        command: the command that made the report.

    Returns:
        The summaries of the streams.
    """
    summaries = [json.loads((work / stream.name / SUMMARY).read_text()) for stream in streams]
    with replaced(output / "metrics.csv") as part, part.open("w", newline="") as target:
        for number, stream in enumerate(streams):
            with (work / stream.name / ROWS).open(newline="") as source:
                header = source.readline()
                if number == 0:
                    target.write(header)
                shutil.copyfileobj(source, target)
    plain = [_without_charts(summary) for summary in summaries]
    figures = {"streams": plain, "mean": mean_figures(summaries), "failed": dict(failed)}
    _write(output / "metrics.json", json.dumps(_finite(figures), indent=1))
    for stream in streams:
        made, place = work / stream.name / OUTPUT_BAG, output / "bags" / stream.name
        if made.exists():
            place.parent.mkdir(exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            made.rename(place)
    _write(output / "report.html", _report(streams, summaries, failed, work, command))
    return summaries


def mean_figures(summaries: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Means over the streams that have a figure, by method, column and kind (mean or a quantile)."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in dict.fromkeys(name for summary in summaries for name in summary["methods"]):
        for heading in HEADINGS:
            columns = (summary["methods"].get(name, {}).get(heading.column, {}) for summary in summaries)
            values = [column[heading.figure] for column in columns if heading.figure in column]
            if values:
                found.setdefault(name, {}).setdefault(heading.column, {})[heading.figure] = sum(values) / len(values)
    return found


def figure_rows(methods: Mapping[str, Any]) -> tuple[list[_Heading], dict[str, list[float]]]:
    """Arrange figures for a table.

    Args:
        methods: summaries by method and column.

    Returns:
        The headings for which some method has a figure, and the figures of each method, NaN where it has none.
    """
    shown = [heading for heading in HEADINGS if any(heading.column in columns for columns in methods.values())]
    rows = {
        name: [float(columns.get(heading.column, {}).get(heading.figure, math.nan)) for heading in shown]
        for name, columns in methods.items()
    }
    return shown, rows


def _table(methods: Mapping[str, Any], ours: Iterable[str]) -> dict[str, Any]:
    shown, rows = figure_rows(methods)
    best = []
    for index, heading in enumerate(shown):
        timed = heading.column == "latency_ms"
        known = [
            row[index]
            for name, row in rows.items()
            if not (math.isnan(row[index]) or (timed and is_instant(methods[name])))
        ]
        best.append((min(known) if heading.lower_is_better else max(known)) if known else math.nan)
    colors = method_colors(methods)
    return {
        "headings": shown,
        "rows": [
            {
                "name": name,
                "ours": name in set(ours),
                "color": colors[name],
                "cells": [
                    {
                        "text": "-" if math.isnan(value) else format(value, heading.form),
                        "best": format(value, heading.form) == format(best[index], heading.form),
                    }
                    for index, (value, heading) in enumerate(zip(row, shown, strict=True))
                ],
            }
            for name, row in rows.items()
        ],
    }


def verdict(methods: Mapping[str, Any], ours: Iterable[str]) -> list[str]:
    """Say how our networks compare with classical flow and with copying, a sentence for each network.

    Args:
        methods: summaries by method and column.
        ours: names of our networks.
    """
    sentences = []
    for name in ours:
        figures = methods.get(name, {})
        column = "psnr_moving" if "psnr_moving" in figures else "psnr"
        differences = {
            words: figures[column]["mean"] - methods[other][column]["mean"]
            for other, words in _REFERENCES.items()
            if column in figures and column in methods.get(other, {})
        }
        if not differences:
            continue
        compared = [
            f"{abs(by):.2f} dB {'worse' if by < 0 else 'better'} than {words}" for words, by in differences.items()
        ]
        where = "moving pixels" if column == "psnr_moving" else "all pixels"
        sentence = f"{name} predicts {where} {' and '.join(compared)}"
        times = [methods.get(method, {}).get("latency_ms", {}).get("p50", 0.0) for method in (name, "DIS medium")]
        if min(times) > 0:
            sentence += f"; it takes {times[0] / times[1]:.1f} times the time of DIS medium"
        sentences.append(f"{sentence}.")
    return sentences


def _report(
    streams: Sequence[Stream],
    summaries: Sequence[dict[str, Any]],
    failed: Mapping[str, str],
    work: Path,
    command: str,
) -> str:
    template = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(
        Path(__file__).with_name("report.html.jinja").read_text()
    )
    shown, room = [], _VIDEOS
    for stream, summary in zip(streams, summaries, strict=True):
        video = work / stream.name / VIDEO
        size = video.stat().st_size if summary["video"] and video.is_file() else 0
        embedded = base64.b64encode(video.read_bytes()).decode() if 0 < size <= room else None
        room -= size if embedded else 0
        shown.append(_stream(stream, summary, work / stream.name, embedded))
    frames, bags = sum(summary["frames"] for summary in summaries), len({stream.bag for stream in streams})
    measured = sum(is_measured(summary) for summary in summaries)
    wheel = np.zeros((96, 96, 3), np.uint8)
    draw_wheel(wheel, 96)
    inside = (wheel.any(axis=2, keepdims=True) * 255).astype(np.uint8)
    made = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return template.render(
        title="Evaluation of " + (Path(streams[0].bag).name if bags == 1 else f"{bags} bags"),
        subtitle=f"{_many(frames, 'frame')} of {_many(len(streams), 'camera')}",
        verdict=verdict(mean_figures(summaries), summaries[0]["ours"]),
        made=f"Made on {made} with stvae_ros {stvae_ros.__version__}",
        command=command,
        wheel=base64.b64encode(cv2.imencode(".png", np.dstack([wheel, inside]))[1].tobytes()).decode(),
        brighter=BRIGHTER,
        failed=[f"{name}: {reason}" for name, reason in failed.items()],
        mean=_table(mean_figures(summaries), summaries[0]["ours"]) if measured > 1 else None,
        measured=measured,
        streams=shown,
        warm_up=WARM_UP,
        moving=MOVING,
        legend=[(heading.text, heading.meaning) for heading in HEADINGS if heading.text != "moving"],
    )


def _stream(stream: Stream, summary: dict[str, Any], folder: Path, video: str | None) -> dict[str, Any]:
    width, height = summary["size"]
    start, end = summary["seconds"]
    resets = ", ".join(f"{count} x {reason}" for reason, count in summary["resets"].items() if reason != "first frame")
    size = "x".join(map(str, summary["processing_size"]))
    facts = [
        f"{_many(summary['frames'], 'frame')} of {width}x{height}, from {start:.1f} s to {end:.1f} s of the bag",
        f"network at {size}, {summary['device']}, {summary['precision']}, {_many(summary['threads'], 'thread')}",
        *([] if is_measured(summary) else [f"too few to measure: only those after the first {WARM_UP} count"]),
        *([f"memory reset: {resets}"] if resets else []),
        *([f"{summary['repeated']} frames left out that repeat a stamp"] if summary["repeated"] else []),
        *([f"{summary['labels refused']} label maps could not be used"] if summary["labels refused"] else []),
    ]
    charts = {
        "PSNR over time, better than copying the last frame by": curves(summary, "psnr", "dB", over="copy last"),
        "PSNR over time": curves(summary, "psnr", "dB"),
        "Photometric error of the flow": curves(summary, "photometric", "0 to 1"),
        "End-point error of the flow": curves(summary, "epe", "pixels"),
        "Labels: mean intersection over union": curves(summary, "label_miou", "0 to 1"),
    }
    histograms = [histogram(summary, "psnr", "PSNR (dB)"), histogram(summary, "latency_ms", "latency (ms)")]
    return {
        "title": f"{Path(stream.bag).name} {stream.topic}",
        "verdict": verdict(summary["methods"], summary["ours"]),
        "facts": "; ".join(facts),
        "problems": [*summary["problems"], *summary["losses"]],
        "table": _table(summary["methods"], summary["ours"]),
        "curves": [{"title": title, "svg": svg} for title, svg in charts.items() if svg],
        "histograms": [svg for svg in histograms if svg],
        "worst": [
            {
                "caption": f"at {moment['seconds']:.2f} s, {moment['psnr']:.1f} dB",
                "pictures": [
                    {
                        "title": picture["title"],
                        "data": base64.b64encode((folder / picture["picture"]).read_bytes()).decode(),
                    }
                    for picture in moment["pictures"]
                ],
            }
            for moment in summary["worst"]
        ],
        "video": video,
        "full_colour": f"{full_colour(width):g}",
    }


def is_measured(summary: Mapping[str, Any]) -> bool:
    """Whether a camera has enough frames for any figure."""
    return bool(figure_rows(summary["methods"])[0])


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _without_charts(summary: dict[str, Any]) -> dict[str, Any]:
    methods = {
        name: {
            column: {key: value for key, value in figures.items() if key not in ("curve", "histogram")}
            for column, figures in columns.items()
        }
        for name, columns in summary["methods"].items()
    }
    return {**{key: value for key, value in summary.items() if key not in ("key", "video")}, "methods": methods}


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, text: str) -> None:
    with replaced(path) as part:
        part.write_text(text)
