"""Figures of a stream of any length in memory of a fixed size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

PARTS = 240
"""Parts of the time, of which the means make a curve."""
EDGES = {
    "psnr": np.linspace(0, 60, 601),
    "latency_ms": np.geomspace(0.01, 100_000, 814),
}
"""Bins of the histograms, from which quantiles come: 0.1 dB, and 2 per cent."""


class Running:
    """Mean, extremes, curve over time and, for those in `EDGES`, histogram of one figure."""

    def __init__(self, name: str) -> None:
        self.count, self.total = 0, 0.0
        self.least, self.most = math.inf, -math.inf
        self.sums, self.counts = np.zeros(PARTS), np.zeros(PARTS, int)
        self.edges = EDGES.get(name)
        self.histogram = None if self.edges is None else np.zeros(len(self.edges) - 1, int)

    def add(self, value: float, share: float) -> None:
        """Take a value at a share of the time, in [0, 1]; NaN is left out."""
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
        """For JSON: ``mean``, ``min``, ``max``, ``count``, ``curve`` and perhaps ``histogram`` and quantiles."""
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
        """The middle of the bin in which it lies."""
        assert self.edges is not None and self.histogram is not None
        position = int(np.searchsorted(np.cumsum(self.histogram), share * self.count))
        return round(float(self.edges[position] + self.edges[position + 1]) / 2, 4)
