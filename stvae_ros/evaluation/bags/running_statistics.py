"""Running figures of a stream in memory that does not grow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

PARTS = 240
"""Number of parts of the stream's time; a curve has the mean of each."""
EDGES = {
    "psnr": np.linspace(0, 60, 601),
    "latency_ms": np.geomspace(0.01, 100_000, 814),
}
"""Edges of the bins of histograms, which also give quantiles; bins of 0.1 dB and of 2 per cent."""


class Running:
    """Mean, extremes, curve over time and, for the figures in `EDGES`, histogram.

    Args:
        name: of the figure.
    """

    def __init__(self, name: str) -> None:
        self.count, self.total = 0, 0.0
        self.least, self.most = math.inf, -math.inf
        self.sums, self.counts = np.zeros(PARTS), np.zeros(PARTS, int)
        self.edges = EDGES.get(name)
        self.histogram = None if self.edges is None else np.zeros(len(self.edges) - 1, int)

    def add(self, value: float, share: float) -> None:
        """Add a value; NaN is left out.

        Args:
            value: of the figure.
            share: when, as a share in [0, 1] of the stream's time.
        """
        if math.isnan(value):
            return
        self.count += 1
        self.total += value
        self.least, self.most = min(self.least, value), max(self.most, value)
        part = min(int(share * PARTS), PARTS - 1)
        self.sums[part] += value
        self.counts[part] += 1
        if self.edges is not None and self.histogram is not None:
            position = int(np.searchsorted(self.edges, value, side="right")) - 1
            self.histogram[min(max(position, 0), len(self.histogram) - 1)] += 1

    def summary(self) -> dict[str, Any]:
        """For JSON: ``mean``, ``min``, ``max``, ``count``, ``curve`` and, with a histogram, that and quantiles."""
        if not self.count:
            return {"count": 0}
        means = self.sums / np.maximum(self.counts, 1)
        curve = [round(float(mean), 5) if count else None for mean, count in zip(means, self.counts, strict=True)]
        found: dict[str, Any] = {
            "mean": self.total / self.count,
            "min": self.least,
            "max": self.most,
            "count": self.count,
            "curve": curve,
        }
        if self.histogram is not None:
            found |= {f"p{share}": self._quantile(share / 100) for share in (1, 5, 50, 95, 99)}
            found["histogram"] = self.histogram.tolist()
        return found

    def _quantile(self, share: float) -> float:
        """The middle of the quantile's bin."""
        assert self.edges is not None and self.histogram is not None
        position = int(np.searchsorted(np.cumsum(self.histogram), share * self.count))
        return round(float(self.edges[position] + self.edges[position + 1]) / 2, 4)
