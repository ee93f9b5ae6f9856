"""Comparison of the forecasts of a bag's stream with the frames that come; running figures."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from stvae_ros.evaluation.bags.frames import BagFrame
from stvae_ros.evaluation.bags.running_statistics import Running
from stvae_ros.evaluation.core.loop import WARM_UP, Shown
from stvae_ros.evaluation.core.methods import Forecast
from stvae_ros.evaluation.core.metrics import end_point_error, moving_pixels, psnr
from stvae_ros.evaluation.core.similarity import similarities
from stvae_ros.evaluation.next_frame import psnr_figure
from stvae_ros.streaming.flow import move

HORIZONS = (1, 2, 5)
"""Frames ahead that are measured."""
COLUMNS = {
    "psnr": "PSNR in dB of the next frame",
    "psnr_moving": "the same, on moving pixels",
    "ssim": "structural similarity",
    "ssim_moving": "the same, on moving pixels",
    "ms_ssim": "multiscale structural similarity",
    "ms_ssim_moving": "the same, on moving pixels",
    "photometric": "mean absolute difference, 0 to 1, of the frame and the last frame moved by the predicted flow",
    "epe": "end-point error in pixels of the predicted flow, where the bag has the true flow",
    **{psnr_figure(step): f"PSNR in dB of the frame {step} ahead" for step in HORIZONS if step > 1},
    "label_miou": "mean intersection over union, 0 to 1, of labels carried to this frame",
    "label_accuracy": "share of pixels with the right label",
    "latency_ms": "milliseconds for the next frame and its flow",
}
"""Figures of one method and one frame, with their meaning."""
Row = dict[str, float]


class _Before(NamedTuple):
    """A frame and the forecasts made from it."""

    shown: Shown[BagFrame, Forecast]
    counts: bool


class StreamScores:
    """Figures of all methods on one stream; keeps the last few frames with their forecasts.

    Args:
        methods: names of the methods.
    """

    def __init__(self, methods: list[str]) -> None:
        self._methods = methods
        self._before: deque[_Before] = deque(maxlen=max(HORIZONS))
        self._since_reset = 0
        self._running = {method: {column: Running(column) for column in COLUMNS} for method in methods}

    def reset(self) -> None:
        """Forget all forecasts; those made from the next `WARM_UP` frames will not count."""
        self._before.clear()
        self._since_reset = 0

    @property
    def last(self) -> BagFrame | None:
        """The last frame; None after a reset."""
        return self._before[-1].shown.sample if self._before else None

    @property
    def forecasts(self) -> Mapping[str, Forecast]:
        """The forecast that each method made from the last frame; empty if they do not count."""
        return self._before[-1].shown.results if self._before and self._before[-1].counts else {}

    def compare(self, frame: BagFrame) -> dict[str, Row]:
        """Compare a frame with the forecasts made before it. Call this before `add` for the same frame.

        Returns:
            A row of `COLUMNS` for each method that has one.
        """
        rows: dict[str, Row] = {method: {} for method in self._methods}
        for step in HORIZONS:
            if step <= len(self._before) and self._before[-step].counts:
                for method, forecast in self._before[-step].shown.results.items():
                    if step in forecast.images:
                        rows[method][psnr_figure(step)] = psnr(forecast.images[step], frame.image)
        if self._before and self._before[-1].counts:
            self._compare_next(rows, frame, self._before[-1].shown)
        return {method: row for method, row in rows.items() if row}

    def _compare_next(self, rows: dict[str, Row], frame: BagFrame, before: Shown[BagFrame, Forecast]) -> None:
        last = before.sample
        moving = moving_pixels(frame.image, last.image)
        images = {method: forecast.images[1] for method, forecast in before.results.items() if 1 in forecast.images}
        found = similarities(list(images.values()), frame.image, moving)
        for (method, image), similarity in zip(images.items(), found, strict=True):
            row, forecast = rows[method], before.results[method]
            row |= similarity._asdict()
            if moving.any():
                row["psnr_moving"] = psnr(image, frame.image, moving)
            if forecast.backward is not None:
                difference = np.abs(move(last.image, forecast.backward).astype(np.int16) - frame.image)
                row["photometric"] = float(difference.mean()) / 255
            if last.flow is not None and forecast.flow is not None:
                row["epe"] = end_point_error(forecast.flow, last.flow)
            row["latency_ms"] = before.milliseconds[method] - forecast.rollout_milliseconds

    def add(self, shown: Shown[BagFrame, Forecast]) -> None:
        """Remember a frame and the forecasts made from it."""
        self._before.append(_Before(shown, self._since_reset >= WARM_UP))
        self._since_reset += 1

    def count(self, rows: Mapping[str, Row], share: float) -> None:
        """Add rows to the running figures.

        Args:
            rows: a row for each method.
            share: when, as a share in [0, 1] of the stream's time.
        """
        for method, row in rows.items():
            for column, value in row.items():
                self._running[method][column].add(value, share)

    def summary(self) -> dict[str, dict[str, Any]]:
        """The summary (see `Running.summary`) of each method's columns that have a figure."""
        return {
            method: {column: running.summary() for column, running in columns.items() if running.count}
            for method, columns in self._running.items()
        }
