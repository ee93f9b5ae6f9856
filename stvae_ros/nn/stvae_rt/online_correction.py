"""Learning on the robot how its camera and what it sees go on moving, from how the last predictions came out.

The *surprise* at a frame is its observed flow less what was predicted for it. Were predictions perfect but for chance,
nothing could be said of the next surprise; yet a hand that shakes swings back, frames that come at uneven intervals
look fast and slow in turn, and noise of the observed flow goes straight into the prediction. So the next surprise is
estimated as a weighted sum of five flows at hand. The weights fit all frames of this camera so far, late ones more:
recursive least squares with forgetting (Haykin, Adaptive Filter Theory). Nothing of it is trained.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.layers.portable import full_precision, portable
from stvae_ros.nn.layers.warp import sample

_FLOWS = 5
_FORGETTING = 0.95
"""Weight of a frame relative to the one after it."""
_RIDGE = 0.1
"""Of the least squares, in squared pixels: with little evidence, predictions are left as they are."""
_LIMITS = (2.0, 8.0)
"""Pixels: a surprise longer than twice the mean is a mismatch and counts as so long, within these limits."""

Evidence = tuple[Tensor, Tensor, Tensor, Tensor]
"""The flow predicted for this frame before it was changed, (B, 2, h, w); the five flows for this frame,
(B, 10, h, w); sums of their products with one another, (B, 5, 5), and with the surprises that followed, (B, 5, 1)."""


def no_evidence(batch: int, height: int, width: int, device: torch.device) -> Evidence:
    """What is known before the first frame. height, width: of the flows."""
    return (
        torch.zeros(batch, 2, height, width, device=device),
        torch.zeros(batch, 2 * _FLOWS, height, width, device=device),
        torch.zeros(batch, _FLOWS, _FLOWS, device=device),
        torch.zeros(batch, _FLOWS, 1, device=device),
    )


def expected_surprise(
    observed: Tensor, predicted: Tensor, counts: Tensor, cell: int, evidence: Evidence
) -> tuple[Tensor, Evidence]:
    """How to change ``predicted``, the flow of the next frame, and the evidence with this frame's.

    observed, predicted: (B, 2, h, w) in pixels, of which a place of the grid has ``cell``. counts: (B, 1, h, w), at
    least 0, how much a place has to say relative to others; zeros where nothing was predicted.
    """
    with full_precision(observed.device):
        foreseen, flows, products, followed = evidence
        share = counts / counts.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
        surprise = observed - foreseen
        usual = (_length(surprise) * share).sum(dim=(1, 2, 3), keepdim=True)
        surprise = _clipped(surprise, (2 * usual).clamp(*_LIMITS))
        x, y = flows.unflatten(1, (_FLOWS, 2)).flatten(2), surprise.flatten(1)[..., None]
        share = share.flatten(1).repeat(1, 2)[:, None]
        # A wild frame, as where one scene ends and another begins, has no more to say than others.
        size = (share * torch.cat([x, y.transpose(1, 2)], dim=1) ** 2).sum(dim=(1, 2), keepdim=True)
        weighted = x * share / size.clamp(min=1)
        weights, products, followed = least_squares(weighted, x, y, products, followed, _RIDGE)

        # This surprise and the one before, what memory makes of steady motion, what smoothing would, and motion that
        # stays where it is in the image.
        moved = sample(torch.cat([_smoothed(surprise, 5), flows[:, :2], observed], dim=1), predicted / cell)
        learnt, smoother = predicted - moved[:, 4:], _smoothed(predicted, 3) - predicted
        changes = [_clipped(learnt, 1.0), _clipped(smoother, 1.0), _clipped(observed - predicted, 2.0)]
        flows = torch.cat([moved[:, :4], *changes], dim=1)
        change = (flows.unflatten(1, (_FLOWS, 2)) * weights[..., None, None]).sum(dim=1)
        return change, (predicted, flows, products, followed)


def least_squares(
    weighted: Tensor, x: Tensor, y: Tensor, products: Tensor, followed: Tensor, ridge: float
) -> tuple[Tensor, Tensor, Tensor]:
    """How to weigh K terms so that their sum is what followed: the weights (B, K, 1), and the sums with this frame's.

    x: the terms at N places, (B, K, N); weighted: the same times what each place counts. y: what followed, (B, N, 1).
    products, followed: sums of ``weighted`` times x, (B, K, K), and times y, (B, K, 1), of former frames.
    """
    products = _FORGETTING * products + weighted @ x.transpose(1, 2)
    followed = _FORGETTING * followed + weighted @ y
    damped = products + ridge * torch.eye(x.shape[1], device=x.device)
    solve = _eliminated if portable() else lambda a, b: torch.linalg.solve_ex(a, b).result
    return solve(damped, followed), products, followed


def _eliminated(matrix: Tensor, right: Tensor) -> Tensor:
    """Solution of the system (B, K, K), (B, K, 1), by Gauss and Jordan; without pivots, which a sum of squares and a
    ridge does not need."""
    rows, size = torch.cat([matrix, right], dim=2), matrix.shape[1]
    one = torch.eye(size, device=matrix.device)
    for k in range(size):
        row = rows[:, k : k + 1] / rows[:, k : k + 1, k : k + 1]
        rows = rows - (rows[:, :, k : k + 1] - one[:, k : k + 1]) * row
    return rows[:, :, size:]


def _smoothed(flow: Tensor, window: int) -> Tensor:
    return F.avg_pool2d(flow, window, 1, window // 2, count_include_pad=False)


def _clipped(flow: Tensor, limit: float | Tensor) -> Tensor:
    """No vector longer than ``limit``."""
    return flow * (limit / _length(flow).clamp(min=limit))


def _length(flow: Tensor) -> Tensor:
    """(B, 1, h, w); on a CPU `torch.linalg.vector_norm` takes far longer."""
    if portable():
        return flow.square().sum(dim=1, keepdim=True).sqrt()
    return torch.hypot(flow[:, :1], flow[:, 1:])
