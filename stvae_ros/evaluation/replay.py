"""Measuring next-frame predictors on recorded or synthetic frames, without ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stvae_ros.evaluation.metrics import end_point_error, psnr
from stvae_ros.evaluation.references import FlowExtrapolation, reference_flows
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.flow import Flow, Image

Predict = Callable[[Image], tuple[Image, Flow | None]]
"""Takes a frame; returns the predicted next frame and the forward flow (H, W, 2) on this frame's grid, if any."""

WARM_UP = 2
"""Frames of a stream whose predictions do not count."""


@dataclass
class Score:
    """Figures of one predictor: PSNR in dB, end-point error in pixels (NaN without truth), milliseconds a frame."""

    psnrs: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    @property
    def psnr(self) -> float:
        """Mean over frames."""
        return float(np.mean(self.psnrs)) if self.psnrs else float("nan")

    @property
    def end_point_error(self) -> float:
        """Mean over frames."""
        return float(np.mean(self.errors)) if self.errors else float("nan")

    @property
    def median_milliseconds(self) -> float:
        """Median over frames."""
        return float(np.median(self.milliseconds)) if self.milliseconds else float("nan")


def ours(predictor: StreamingPredictor, period_ns: int = 33_333_333) -> Predict:
    """A streaming predictor on one camera whose frames come at a fixed period."""
    count = 0

    def predict(image: Image) -> tuple[Image, Flow | None]:
        nonlocal count
        motion = predictor.step({"camera": Frame(image, count * period_ns)})["camera"]
        assert motion is not None
        count += 1
        return motion.prediction, motion.flow

    return predict


def copy_last(image: Image) -> tuple[Image, Flow | None]:
    """The next frame is this frame, and nothing moves."""
    return image, np.zeros((*image.shape[:2], 2), np.float32)


def references() -> dict[str, Predict]:
    """Copying, and the extrapolation of each classical flow; fresh, without memory of other frames."""

    def extrapolate(extrapolation: FlowExtrapolation) -> Predict:
        return lambda image: (extrapolation.predict(image), extrapolation.forward)

    classical = {name: extrapolate(FlowExtrapolation(flow)) for name, flow in reference_flows().items()}
    return {"copy last": copy_last, **classical}


def evaluate(
    frames: Iterable[tuple[Image, NDArray[np.float32] | None]], predictors: dict[str, Predict], warm_up: int = WARM_UP
) -> dict[str, Score]:
    """Show every frame to every predictor and compare each prediction with the next frame.

    frames: images with their true forward flow to the next frame, or None. The predictions made from the first
    ``warm_up`` frames do not count, since motion takes two frames to see.
    """
    scores = {name: Score() for name in predictors}
    pending: dict[str, Image] = {}
    for index, (image, truth) in enumerate(frames):
        for name, prediction in pending.items():
            scores[name].psnrs.append(psnr(prediction, image))
        for name, predict in predictors.items():
            start = time.perf_counter()
            prediction, flow = predict(image)
            elapsed = time.perf_counter() - start
            if index < warm_up:
                continue
            pending[name] = prediction
            scores[name].milliseconds.append(elapsed * 1e3)
            if truth is not None and flow is not None:
                scores[name].errors.append(end_point_error(flow, truth))
    return scores
