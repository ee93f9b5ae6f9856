"""What was predicted of each frame of a stream, compared with the frame when it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from stvae_ros.evaluation.bags.frames import BagFrame
from stvae_ros.evaluation.bags.methods import HORIZONS, Forecast, moving_pixels
from stvae_ros.evaluation.metrics import MOVING, end_point_error, psnr
from stvae_ros.evaluation.running_statistics import Running
from stvae_ros.evaluation.similarity import similarities

COLUMNS = {
    "psnr": "PSNR in dB of the next frame",
    "psnr_moving": "the same, on moving pixels",
    "ssim": "structural similarity",
    "ssim_moving": "the same, on moving pixels",
    "ms_ssim": "multiscale structural similarity",
    "ms_ssim_moving": "the same, on moving pixels",
    "photometric": "mean absolute difference, 0 to 1, of the frame and the last one moved by the predicted flow",
    "epe": "end-point error in pixels of the predicted flow, where the bag has the true one",
    **{f"psnr_{step}": f"PSNR in dB of the frame {step} ahead" for step in HORIZONS if step > 1},
    "label_miou": "mean intersection over union, 0 to 1, of labels carried to this frame",
    "label_accuracy": "share of pixels with the right label",
    "latency_ms": "milliseconds for the next frame and its flow",
}
"""Figures of one method and one frame."""
WARM_UP = 2
"""Frames after a reset from which predictions do not count, since motion takes two frames to see."""
Row = dict[str, float]


class _Before(NamedTuple):
    """A frame and what was said after it."""

    frame: BagFrame
    forecasts: Mapping[str, Forecast]
    counts: bool


class StreamScores:
    """Takes the frames of a stream with all forecasts made of them; keeps a few of them, and running figures."""

    def __init__(self, methods: list[str]) -> None:
        self.methods = methods
        self._before: deque[_Before] = deque(maxlen=max(HORIZONS))
        self._since_reset = 0
        self._running = {method: {column: Running(column) for column in COLUMNS} for method in methods}

    def reset(self) -> None:
        """What was predicted does not count for frames from here on."""
        self._before.clear()
        self._since_reset = 0

    @property
    def last(self) -> BagFrame | None:
        """The frame before, and none after a reset."""
        return self._before[-1].frame if self._before else None

    def forecast(self, method: str) -> Forecast | None:
        """What a method said after the frame before, if it counts."""
        return self._before[-1].forecasts[method] if self._before and self._before[-1].counts else None

    def compare(self, frame: BagFrame) -> dict[str, Row]:
        """The row of each method for a frame; before `add` of the same frame. Empty where nothing counts."""
        rows: dict[str, Row] = {method: {} for method in self.methods}
        for step in HORIZONS:
            if step <= len(self._before) and self._before[-step].counts:
                for method, forecast in self._before[-step].forecasts.items():
                    if step in forecast.images:
                        name = "psnr" if step == 1 else f"psnr_{step}"
                        rows[method][name] = psnr(forecast.images[step], frame.image)
        if self._before and self._before[-1].counts:
            self._compare_next(rows, frame, self._before[-1])
        return {method: row for method, row in rows.items() if row}

    def _compare_next(self, rows: dict[str, Row], frame: BagFrame, before: _Before) -> None:
        moving = moving_pixels(frame.image, before.frame.image, MOVING)
        images = {method: f.images[1] for method, f in before.forecasts.items() if 1 in f.images}
        found = similarities(list(images.values()), frame.image, moving)
        for (method, image), similarity in zip(images.items(), found, strict=True):
            row, forecast = rows[method], before.forecasts[method]
            row |= similarity._asdict()
            if moving.any():
                row["psnr_moving"] = psnr(image, frame.image, moving)
            if forecast.moved is not None:
                difference = np.abs(forecast.moved.astype(np.int16) - frame.image)
                row["photometric"] = float(difference.mean()) / 255
            if before.frame.flow is not None and forecast.flow is not None:
                row["epe"] = end_point_error(forecast.flow, before.frame.flow)
            row["latency_ms"] = forecast.milliseconds

    def add(self, frame: BagFrame, forecasts: Mapping[str, Forecast]) -> None:
        """Remember what was said after a frame."""
        self._before.append(_Before(frame, forecasts, self._since_reset >= WARM_UP))
        self._since_reset += 1

    def count(self, rows: Mapping[str, Row], share: float) -> None:
        """Add rows to the running figures. share: of the stream's time, in [0, 1]."""
        for method, row in rows.items():
            for column, value in row.items():
                self._running[method][column].add(value, share)

    def summary(self) -> dict[str, dict[str, Any]]:
        """Of each method and each of its `COLUMNS` that has a figure, see `Running.summary`."""
        return {
            method: {column: running.summary() for column, running in columns.items() if running.count}
            for method, columns in self._running.items()
        }
