"""Evaluation of next-frame prediction on video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from stvae_ros.evaluation.core.loop import WARM_UP, Sample, show
from stvae_ros.evaluation.core.methods import Forecast, Predict
from stvae_ros.evaluation.core.metrics import SMALLEST, Mask, end_point_error, moving_pixels, psnr, static_pixels
from stvae_ros.evaluation.core.scores import Score
from stvae_ros.evaluation.core.similarity import ssim
from stvae_ros.streaming.flow import Image


def psnr_figure(ahead: int) -> str:
    """Name of the PSNR of a frame so many ahead."""
    return "psnr" if ahead == 1 else f"psnr_{ahead}"


def evaluate(samples: Iterable[Sample], methods: Mapping[str, Predict], warm_up: int = WARM_UP) -> dict[str, Score]:
    """Compare every prediction with the frame that it is for.

    Figures of a score, all of the next frame but for the first:

    - ``psnr``, ``psnr_2``, ...: PSNR in dB of the frames ahead, see `psnr_figure`;
    - ``psnr_moving``: PSNR in dB on moving pixels;
    - ``ssim``: structural similarity;
    - ``epe``, ``epe_observed``: end-point errors in pixels of the predicted and of the observed flow;
    - ``flicker``: mean change in pixels of the predicted flow from frame to frame, on static pixels;
    - ``ms``, ``ms_rollout``: milliseconds for the next frame, and for the frames after it.

    Args:
        samples: the stream.
        methods: the methods by name.
        warm_up: forecasts made from so many first frames do not count.

    Returns:
        A score for each method.
    """
    scores = {name: Score() for name in methods}
    pending: dict[str, list[Forecast]] = {name: [] for name in methods}
    last: Image | None = None
    for shown in show(samples, methods, warm_up):
        sample, image = shown.sample, shown.sample.image
        moving = static = None
        if last is not None and shown.index > warm_up and min(image.shape[:2]) >= SMALLEST:
            moving, static = moving_pixels(image, last), static_pixels(last, image)
        for name, forecast in shown.results.items():
            score, before = scores[name], pending[name]
            _compare(score, before, image, moving)
            if not shown.counts:
                continue
            score["ms"].append(shown.milliseconds[name] - forecast.rollout_milliseconds)
            score["ms_rollout"].append(forecast.rollout_milliseconds)
            if sample.flow is not None and forecast.flow is not None:
                score["epe"].append(end_point_error(forecast.flow, sample.flow))
            if sample.observed is not None and forecast.observed is not None:
                score["epe_observed"].append(end_point_error(forecast.observed, sample.observed))
            flow = before[-1].flow if before else None
            if static is not None and static.any() and flow is not None and forecast.flow is not None:
                score["flicker"].append(end_point_error(forecast.flow, flow, static))
            pending[name] = [*before, forecast][-max(sample.ahead) :]
        last = image
    return scores


def _compare(score: Score, forecasts: list[Forecast], image: Image, moving: Mask | None) -> None:
    """Compare a frame with the forecasts made before it, the last one at the end."""
    for ahead, forecast in enumerate(reversed(forecasts), 1):
        score[psnr_figure(ahead)].append(psnr(forecast.images[ahead], image))
    if forecasts and moving is not None:
        prediction = forecasts[-1].images[1]
        score["ssim"].append(ssim(prediction, image))
        if np.any(moving):
            score["psnr_moving"].append(psnr(prediction, image, moving))
