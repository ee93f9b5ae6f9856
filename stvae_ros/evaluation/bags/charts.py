"""Charts of the report, as SVG."""

from __future__ import annotations

from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from stvae_ros.evaluation.bags.running_statistics import EDGES, PARTS

_COLORS = ("#0b6e4f", "#c8553d", "#8a8d91", "#2b6cb0", "#b7791f", "#6b46c1", "#d53f8c")
_OPTIONS: Any = {"svg.fonttype": "none", "svg.hashsalt": "stvae_ros", "font.size": 9.0}
_GAP = 5.0
"""A line ends where two points are further apart than so many median distances."""
_BINS = (12, 60)
"""Least and largest number of bins of a histogram."""
_INSTANT = 0.1
"""A method whose latency stays below so many milliseconds has no histogram of it: copying takes no time."""


def curves(summary: dict[str, Any], column: str, label: str) -> str | None:
    """Draw a figure over the time of the bag, with a line for each method.

    Args:
        summary: of a stream, as in its summary.json.
        column: the figure.
        label: of the axis.

    Returns:
        An SVG element; None if no method has the figure.
    """
    start, end = summary["seconds"]
    seconds = start + (np.arange(PARTS) + 0.5) / PARTS * (end - start)

    def draw(axes: Axes) -> bool:
        drawn = False
        for number, (name, figures) in enumerate(summary["methods"].items()):
            curve = np.array(figures.get(column, {}).get("curve", []), float)
            known = np.isfinite(curve)
            if known.any():
                x, y = _with_gaps(seconds[known], curve[known])
                axes.plot(x, y, label=name, color=_COLORS[number % len(_COLORS)], lw=1.1)
                drawn = True
        axes.set_xlabel("seconds of the bag")
        axes.set_ylabel(label)
        return drawn

    return _svg(draw, 9.0)


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
    least = _INSTANT if column == "latency_ms" else edges[0]

    def draw(axes: Axes) -> bool:
        kept = {
            name: np.array(figures[column]["histogram"])
            for name, figures in summary["methods"].items()
            if "histogram" in figures.get(column, {}) and figures[column]["max"] > least
        }
        if not kept:
            return False
        filled = np.flatnonzero(np.sum(list(kept.values()), axis=0))
        first, last = int(filled[0]), int(filled[-1]) + 1
        bins = np.clip(2 * np.sqrt(max(counts.sum() for counts in kept.values())), *_BINS)
        step = max(round((last - first) / bins), 1)
        colors = dict(zip(summary["methods"], _COLORS * len(kept), strict=False))
        for name, counts in kept.items():
            starts = np.arange(first, last, step)
            shares = np.add.reduceat(counts[:last], starts) / counts.sum()
            axes.stairs(100 * shares, edges[np.append(starts, last)], label=name, color=colors[name], lw=1.3)
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
    return svg[svg.index("<svg") :]
