"""Measuring next-frame predictors on recorded or synthetic frames, without ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stvae_ros.evaluation.baselines import FlowExtrapolation, dis_flow, grey, reference_flows
from stvae_ros.evaluation.metrics import MOVING, end_point_error, psnr, static_pixels
from stvae_ros.evaluation.similarity import ssim
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.flow import Flow, Image

WARM_UP = 2
"""Frames of a stream whose predictions do not count."""


class Shown(NamedTuple):
    """A frame, and what is known of it: forward flow to the next frame, backward flow to the last, (H, W, 2) each."""

    image: Image
    forward: NDArray[np.float32] | None = None
    backward: NDArray[np.float32] | None = None


class Forecast(NamedTuple):
    """What a predictor says after a frame.

    images: the next frame, the one after it, and so on. flow: forward flow to the next frame, and observed: backward
    flow to the last frame, both (H, W, 2) on this frame's grid in pixels; None from a predictor without.
    """

    images: Sequence[Image]
    flow: Flow | None = None
    observed: Flow | None = None


Predict = Callable[[Image], Forecast]
"""Takes the frames of a stream one by one."""


@dataclass
class Score:
    """Figures of one predictor, a list of one value a frame for each; means are NaN where there is none.

    rollout: PSNR in dB of each horizon, the next frame first. ssim, and moving: PSNR in dB on moving pixels, of the
    next frame. errors and observed_errors: end-point error of the predicted and of the observed flow in pixels.
    flicker: mean change of the predicted flow from frame to frame on static pixels, in pixels, while the camera stands
    still. milliseconds.
    """

    rollout: list[list[float]] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    moving: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    observed_errors: list[float] = field(default_factory=list)
    flicker: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    @property
    def psnrs(self) -> list[float]:
        """PSNR of the next frame in dB."""
        return self.rollout[0] if self.rollout else []

    @property
    def median_milliseconds(self) -> float:
        """Median over frames."""
        return float(np.median(self.milliseconds)) if self.milliseconds else float("nan")


def mean(values: Sequence[float]) -> float:
    """Mean, NaN of nothing."""
    return float(np.mean(values)) if values else float("nan")


def ours(predictor: StreamingPredictor, period_ns: int = 33_333_333) -> Predict:
    """A streaming predictor on one camera whose frames come at a fixed period."""
    predictor.warm_up()
    count = 0

    def predict(image: Image) -> Forecast:
        nonlocal count
        motion = predictor.step({"camera": Frame(image, count * period_ns)})["camera"]
        assert motion is not None
        count += 1
        return Forecast([view.next_image for view in motion.views], motion.next_flow, motion.observed_flow)

    return predict


def references(horizon: int = 1) -> dict[str, Predict]:
    """Copying, and the extrapolation of each classical flow; fresh, without memory of other frames."""

    def copy_last(image: Image) -> Forecast:
        nothing = np.zeros((*image.shape[:2], 2), np.float32)
        return Forecast([image] * horizon, nothing, nothing)

    def extrapolate(extrapolation: FlowExtrapolation) -> Predict:
        def predict(image: Image) -> Forecast:
            images = extrapolation.predict(image, horizon)
            return Forecast(images, extrapolation.forward, extrapolation.observed)

        return predict

    classical = {name: extrapolate(FlowExtrapolation(flow)) for name, flow in reference_flows().items()}
    return {"copy last": copy_last, **classical}


def evaluate(frames: Iterable[Shown], predictors: dict[str, Predict], warm_up: int = WARM_UP) -> dict[str, Score]:
    """Show every frame to every predictor and compare each prediction with the frame that it is for.

    The predictions made from the first ``warm_up`` frames do not count, since motion takes two frames to see. What
    moves is what DIS medium, shown a frame and the next, sees moving by `MOVING` pixels or more.
    """
    scores = {name: Score() for name in predictors}
    pending: dict[str, list[Forecast]] = {name: [] for name in predictors}
    sees = dis_flow("medium")
    last: Image | None = None
    for index, shown in enumerate(frames):
        image = shown.image
        moving = static = None
        if last is not None and index > warm_up and min(image.shape[:2]) >= 16:
            moving = np.hypot(*np.moveaxis(sees(grey(image), grey(last)), 2, 0)) >= MOVING
            static = static_pixels(last, image)
        for name, predict in predictors.items():
            score = scores[name]
            _compare(score, pending[name], image, moving)
            start = time.perf_counter()
            forecast = predict(image)
            elapsed = time.perf_counter() - start
            if index < warm_up:
                continue
            score.milliseconds.append(elapsed * 1e3)
            if shown.forward is not None and forecast.flow is not None:
                score.errors.append(end_point_error(forecast.flow, shown.forward))
            if shown.backward is not None and forecast.observed is not None:
                score.observed_errors.append(end_point_error(forecast.observed, shown.backward))
            before = pending[name][-1].flow if pending[name] else None
            if static is not None and static.any() and before is not None and forecast.flow is not None:
                score.flicker.append(end_point_error(forecast.flow, before, static))
            pending[name] = [*pending[name], forecast][-len(forecast.images) :]
        last = image
    return scores


def _compare(score: Score, forecasts: list[Forecast], image: Image, moving: NDArray[np.bool_] | None) -> None:
    """Compare ``image`` with what the last forecast said of it, the one before, and so on."""
    for ahead, forecast in enumerate(reversed(forecasts)):
        while len(score.rollout) <= ahead:
            score.rollout.append([])
        score.rollout[ahead].append(psnr(forecast.images[ahead], image))
    if forecasts and moving is not None:
        score.ssim.append(ssim(forecasts[-1].images[0], image))
        if moving.any():
            score.moving.append(psnr(forecasts[-1].images[0], image, moving))
