"""Charts of the report, as SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from stvae_ros.evaluation.bags.running_statistics import EDGES, PARTS

_COLORS = {
    "copy last": "#8a8d91",
    "DIS medium": "#dd6b20",
    "Farneback": "#3b82c4",
    "stvae-rt-m": "#12906a",
    "stvae-rt-s": "#8b5cf6",
    "stvae-rt-l": "#b7791f",
    "ae-convlstm-flow": "#d53f8c",
}
"""Colours that can be read on white and on black, the same in all reports."""
_OTHER_COLORS = ("#1ba3b8", "#e0524d", "#7a9a01", "#b266b2")
_DASHES = {"copy last": ":", "DIS medium": "--", "Farneback": "-."}
_INK = "#123456"
"""Stands for the colour of the text on the page, light or dark."""
_OPTIONS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "stvae_ros",
    "font.size": 9.0,
    "savefig.transparent": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}
_GAP = 5.0
"""A line ends where two points are further apart than so many median distances."""
_BINS = (12, 60)
"""Least and largest number of bins of a histogram."""
_INSTANT = 0.1
"""A method with a median latency below so many milliseconds takes no time, as copying."""


def method_colors(methods: Iterable[str]) -> dict[str, str]:
    """The colour of each method: its own, or one of the others by order."""
    others = itertools.cycle(_OTHER_COLORS)
    return {name: _COLORS.get(name) or next(others) for name in methods}


def is_instant(figures: Mapping[str, Any]) -> bool:
    """Whether a method takes no time. Its latency is neither drawn nor marked as the best."""
    return bool(figures.get("latency_ms", {}).get("p50", math.inf) < _INSTANT)


def curves(summary: dict[str, Any], column: str, label: str, over: str | None = None) -> str | None:
    """Draw a figure over the time of the bag, with a line for each method.

    Args:
        summary: of a stream, as in its summary.json.
        column: the figure.
        label: of the axis.
        over: a method. The lines of the others show the difference to it. None draws the figure itself.

    Returns:
        An SVG element; None if no method has the figure.
    """
    colors = method_colors(summary["methods"])
    base = None if over is None else _curve(summary["methods"].get(over, {}), column)
    start, end = summary["seconds"]
    seconds = start + (np.arange(PARTS) + 0.5) / PARTS * (end - start)

    def draw(axes: Axes) -> bool:
        drawn = False
        for name, figures in summary["methods"].items():
            curve = _curve(figures, column)
            if base is not None:
                if name == over:
                    continue
                curve = curve - base
            known = np.isfinite(curve)
            if known.any():
                x, y = _with_gaps(seconds[known], curve[known])
                dashes = _DASHES.get(name, "-")
                axes.plot(x, y, dashes, label=name, color=colors[name], lw=1.6 if dashes == "-" else 1.1)
                drawn = True
        if base is not None:
            axes.axhline(0, color=_COLORS.get(over or "", _INK), lw=1.0, ls=":")
        axes.set_xlabel("seconds of the bag")
        axes.set_ylabel(label)
        return drawn

    return _svg(draw, 9.0)


def _curve(figures: Mapping[str, Any], column: str) -> NDArray[np.float64]:
    return np.array(figures.get(column, {}).get("curve", [None] * PARTS), float)


def _with_gaps(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Insert NaN where the bag had no frames for a while, so that the line ends there and starts again."""
    steps = np.diff(x)
    gaps = np.flatnonzero(steps > _GAP * np.median(steps)) + 1 if len(steps) else np.empty(0, int)
    return np.insert(x, gaps, np.nan), np.insert(y, gaps, np.nan)


def histogram(summary: dict[str, Any], column: str, label: str) -> str | None:
    """Draw how often the values of a figure occur, with a line for each method.

    Args:
        summary: of a stream, as in its summary.json.
        column: the figure, one of `EDGES`.
        label: of the axis.

    Returns:
        An SVG element; None if no method has the figure.
    """
    edges = EDGES[column]

    def draw(axes: Axes) -> bool:
        kept = {
            name: np.array(figures[column]["histogram"])
            for name, figures in summary["methods"].items()
            if "histogram" in figures.get(column, {}) and not (column == "latency_ms" and is_instant(figures))
        }
        if not kept:
            return False
        filled = np.flatnonzero(np.sum(list(kept.values()), axis=0))
        first, last = int(filled[0]), int(filled[-1]) + 1
        bins = np.clip(2 * np.sqrt(max(counts.sum() for counts in kept.values())), *_BINS)
        step = max(round((last - first) / bins), 1)
        colors = method_colors(summary["methods"])
        for name, counts in kept.items():
            starts = np.arange(first, last, step)
            shares = np.add.reduceat(counts[:last], starts) / counts.sum()
            axes.stairs(
                100 * shares,
                edges[np.append(starts, last)],
                label=name,
                color=colors[name],
                lw=1.3,
                ls=_DASHES.get(name, "-"),
            )
        if column == "latency_ms":
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        axes.set_ylabel("% of the frames")
        return True

    return _svg(draw, 4.4)


def _svg(draw: Any, width: float) -> str | None:
    with matplotlib.rc_context(_OPTIONS):
        figure = Figure(figsize=(width, 2.5), layout="constrained")
        axes = figure.add_subplot()
        if not draw(axes):
            return None
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, lw=0.6)
        # The legend is above the axes, where there are no lines.
        axes.legend(frameon=False, fontsize=8, ncols=round(width / 1.5), loc="lower left", bbox_to_anchor=(0, 1))
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
