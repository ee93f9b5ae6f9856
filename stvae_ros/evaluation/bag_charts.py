"""Charts of the report of bags, as SVG."""

from __future__ import annotations

from io import StringIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stvae_ros.evaluation.running import EDGES, PARTS

_COLORS = ("#0b6e4f", "#c8553d", "#8a8d91", "#2b6cb0", "#b7791f", "#6b46c1", "#d53f8c")
_OPTIONS: Any = {"svg.fonttype": "none", "svg.hashsalt": "stvae_ros", "font.size": 9.0}


def curves(summary: dict[str, Any], column: str, label: str) -> str | None:
    """A figure over the time of the bag, a line a method; None if no method has it."""
    start, end = summary["seconds"]
    seconds = start + (np.arange(PARTS) + 0.5) / PARTS * (end - start)

    def draw(axes: Axes) -> bool:
        drawn = False
        for number, (name, figures) in enumerate(summary["methods"].items()):
            curve = np.array(figures.get(column, {}).get("curve", []), float)
            known = np.isfinite(curve)
            if known.any():
                axes.plot(seconds[known], curve[known], label=name, color=_COLORS[number % len(_COLORS)], lw=1.1)
                drawn = True
        axes.set_xlabel("seconds of the bag")
        axes.set_ylabel(label)
        return drawn

    return _svg(draw, 9.0)


def histogram(summary: dict[str, Any], column: str, label: str, bins: int = 60) -> str | None:
    """Shares of the frames, a line a method; None if no method has the figure."""
    edges = EDGES[column]

    def draw(axes: Axes) -> bool:
        kept = {
            name: np.array(figures[column]["histogram"])
            for name, figures in summary["methods"].items()
            if "histogram" in figures.get(column, {}) and figures[column]["max"] > edges[0]
        }
        if not kept:
            return False
        filled = np.flatnonzero(np.sum(list(kept.values()), axis=0))
        first, last = int(filled[0]), int(filled[-1]) + 1
        step = max((last - first) // bins, 1)
        colors = dict(zip(summary["methods"], _COLORS * len(kept), strict=False))
        for name, counts in kept.items():
            starts = np.arange(first, last, step)
            shares = np.add.reduceat(counts[:last], starts) / counts.sum()
            axes.stairs(100 * shares, edges[np.append(starts, last)], label=name, color=colors[name], lw=1.3)
        if column == "latency_ms":
            axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel("% of the frames")
        return True

    return _svg(draw, 4.4)


def _svg(draw: Any, width: float) -> str | None:
    import matplotlib

    with matplotlib.rc_context(_OPTIONS):
        figure = Figure(figsize=(width, 2.5), layout="constrained")
        axes = figure.add_subplot()
        if not draw(axes):
            return None
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, lw=0.6)
        axes.legend(frameon=False, fontsize=8, ncols=2)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
