"""End-point error of observed flow on image pairs with ground truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from stvae_ros.evaluation.core.classical_flow import classical_flows, grey
from stvae_ros.evaluation.core.loop import PERIOD
from stvae_ros.evaluation.core.metrics import end_point_error
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.flow import Flow, Image

_REPEATS = 3
"""How often the target is shown before the source; this fills the network's memory."""


def observed_by(predictor: StreamingPredictor, source: Image, target: Image) -> Flow | None:
    """Measure flow with a network: the target is shown a few times, then the source.

    Returns:
        The flow from source to target, (H, W, 2) in pixels on the grid of the source; None from a network that does
        not measure flow.
    """
    predictor.reset()
    images = [target] * _REPEATS + [source]
    results = [predictor.step({"": Frame(image, index * PERIOD)})[""] for index, image in enumerate(images)]
    assert results[-1] is not None
    return results[-1].observed_flow


def pair_errors(
    source: Image, target: Image, truth: Flow, networks: Mapping[str, Callable[[tuple[int, int]], StreamingPredictor]]
) -> dict[str, float]:
    """Mean end-point errors of all estimators on one pair.

    Args:
        source: (H, W, 3) or (H, W) uint8.
        target: the same shape.
        truth: true flow (H, W, 2) from source to target in pixels; NaN where it is unknown.
        networks: for each name a function from processing size to predictor. A network sees the pair at its own size,
            rounded down to a multiple of 16.

    Returns:
        Errors in pixels, by estimator; NaN for a network that does not measure flow.
    """
    known = np.isfinite(truth[..., 0]) & np.isfinite(truth[..., 1])
    height, width = truth.shape[:2]
    flows: dict[str, Flow | None] = {"no flow": np.zeros_like(truth)}
    for name, build in networks.items():
        flows[name] = observed_by(build((width // 16 * 16, height // 16 * 16)), source, target)
    for name, estimate in classical_flows().items():
        flows[name] = estimate(grey(source), grey(target))
    return {name: float("nan") if flow is None else end_point_error(flow, truth, known) for name, flow in flows.items()}
