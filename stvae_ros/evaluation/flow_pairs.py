"""End-point error on pairs of frames with ground-truth flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from stvae_ros.evaluation.baselines import grey, reference_flows
from stvae_ros.evaluation.metrics import end_point_error
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.flow import Flow, Image

SHOWN = 3
"""Times that the first frame is shown before the second, so that a memory is not empty."""
_PERIOD = 33_333_333


def observed_by(predictor: StreamingPredictor, source: Image, target: Image) -> Flow | None:
    """Flow from ``source`` to ``target``, (H, W, 2) on the grid of ``source``.

    It is what is observed when ``target``, shown a few times, is followed by ``source``. None from a network that does
    not measure flow.
    """
    predictor.reset()
    for index in range(SHOWN):
        predictor.step({"": Frame(target, index * _PERIOD)})
    motion = predictor.step({"": Frame(source, SHOWN * _PERIOD)})[""]
    assert motion is not None
    return motion.observed_flow


def pair_errors(
    source: Image,
    target: Image,
    truth: NDArray[np.float32],
    networks: Mapping[str, Callable[[tuple[int, int]], StreamingPredictor]],
) -> dict[str, float]:
    """Mean end-point error in pixels, where the truth (H, W, 2) is not NaN, of every estimator on one pair.

    networks: for each name a function from processing size to predictor; a network sees the pair at its own size,
    rounded down to what every network takes. NaN for one that does not measure flow.
    """
    known = np.isfinite(truth[..., 0]) & np.isfinite(truth[..., 1])
    height, width = truth.shape[:2]
    errors = {"no flow": end_point_error(np.zeros_like(truth), truth, known)}
    for name, build in networks.items():
        flow = observed_by(build((width // 16 * 16, height // 16 * 16)), source, target)
        errors[name] = float("nan") if flow is None else end_point_error(flow, truth, known)
    for name, estimate in reference_flows().items():
        errors[name] = end_point_error(estimate(grey(source), grey(target)), truth, known)
    return errors
