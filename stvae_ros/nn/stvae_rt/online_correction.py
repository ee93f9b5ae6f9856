"""Online correction of the predicted flow from the errors of past predictions of the same camera.

The *innovation* at a frame is its observed flow minus the flow predicted for it. Part of it can be predicted: a shaking
hand swings back, frames at uneven intervals look fast and slow in turn, and noise of the observed flow enters the
prediction. The next innovation is estimated as a weighted sum of five flow fields. The weights come from recursive
least squares with forgetting (Haykin, Adaptive Filter Theory). No parameter is trained.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.layers.portable import full_precision, portable
from stvae_ros.nn.layers.warp import warp

_FIELDS = 5
"""Number of flow fields that are combined."""
_FORGETTING = 0.95
"""Weight of a frame relative to the next one."""
_RIDGE = 0.1
"""Ridge of the least squares, in squared pixels. With few observations the correction stays near zero."""
_LIMITS = (2.0, 8.0)
"""Bounds, in pixels, of the length to which innovations are clipped. The length is twice the mean innovation."""


class RlsState(NamedTuple):
    """State of recursive least squares with K regressors.

    Attributes:
        prediction: Prediction of this frame before its correction, (B, C, h, w).
        regressors: Regressors for this frame, (B, K * C, h, w).
        gram: Weighted sum of products of the regressors over past frames, (B, K, K).
        moments: Weighted sum of products of the regressors and their targets, (B, K, 1).
    """

    prediction: Tensor
    regressors: Tensor
    gram: Tensor
    moments: Tensor


def initial_correction(batch: int, height: int, width: int, device: torch.device) -> RlsState:
    """State of `expected_innovation` before the first frame, for flows of ``height`` x ``width``."""
    return RlsState(
        torch.zeros(batch, 2, height, width, device=device),
        torch.zeros(batch, 2 * _FIELDS, height, width, device=device),
        torch.zeros(batch, _FIELDS, _FIELDS, device=device),
        torch.zeros(batch, _FIELDS, 1, device=device),
    )


def expected_innovation(
    observed: Tensor, predicted: Tensor, counts: Tensor, cell: int, state: RlsState
) -> tuple[Tensor, RlsState]:
    """Correction of the flow predicted for the next frame.

    Args:
        observed: Flow observed at this frame, (B, 2, h, w) in pixels.
        predicted: Flow predicted for the next frame, (B, 2, h, w) in pixels.
        counts: Weight of each place, (B, 1, h, w), at least 0; zeros where nothing was predicted for this frame.
        cell: Width of one place of the grid in pixels.
        state: State after the last frame.

    Returns:
        The correction, to be added to ``predicted``, and the new state.
    """
    with full_precision(observed.device):
        fields = state.regressors
        share = counts / counts.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
        innovation = observed - state.prediction
        mean = (_length(innovation) * share).sum(dim=(1, 2, 3), keepdim=True)
        innovation = _clipped(innovation, (2 * mean).clamp(*_LIMITS))
        x, y = fields.unflatten(1, (_FIELDS, 2)).flatten(2), innovation.flatten(1)[..., None]
        share = share.flatten(1).repeat(1, 2)[:, None]
        # A frame with large innovations, such as a cut between two scenes, gets no more weight than others.
        energy = (share * torch.cat([x, y.transpose(1, 2)], dim=1).square()).sum(dim=(1, 2), keepdim=True)
        weighted = x * (share / energy.clamp(min=1))
        weights, gram, moments = least_squares(weighted, x, y, state.gram, state.moments, _RIDGE)

        # Fields: this innovation, the one before, the change that memory made to steady motion, smoothing of the
        # prediction, and motion that stays where it is in the image.
        moved = warp(torch.cat([_smoothed(innovation, 5), fields[:, :2], observed], dim=1), predicted / cell)
        moved, observed_before = moved[:, :4], moved[:, 4:]
        learnt, smoother = predicted - observed_before, _smoothed(predicted, 3) - predicted
        # The last field may be twice as long: it is halved before clipping.
        changes = torch.cat([learnt, smoother, (observed - predicted) / 2], dim=1).unflatten(1, (3, 2))
        changes = _clipped(changes.flatten(0, 1), 1.0).view_as(changes)
        fields = torch.cat([moved, changes[:, :2].flatten(1, 2), 2 * changes[:, 2]], dim=1)
        correction = (fields.unflatten(1, (_FIELDS, 2)) * weights[..., None, None]).sum(dim=1)
        return correction, RlsState(predicted, fields, gram, moments)


def least_squares(
    weighted: Tensor, x: Tensor, y: Tensor, gram: Tensor, moments: Tensor, ridge: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One update of recursive least squares with forgetting.

    Args:
        weighted: Regressors times the weight of each sample, (B, K, N).
        x: Regressors at N samples, (B, K, N).
        y: Targets, (B, N, 1).
        gram: Sum of ``weighted`` times ``x`` over past frames, (B, K, K).
        moments: Sum of ``weighted`` times ``y`` over past frames, (B, K, 1).
        ridge: Added to the diagonal of the Gram matrix.

    Returns:
        The solution (B, K, 1), and the new ``gram`` and ``moments``.
    """
    gram = _FORGETTING * gram + weighted @ x.transpose(1, 2)
    moments = _FORGETTING * moments + weighted @ y
    damped = gram + ridge * torch.eye(x.shape[1], device=x.device)
    solution = _eliminated(damped, moments) if portable() else torch.linalg.solve_ex(damped, moments).result
    return solution, gram, moments


def _eliminated(matrix: Tensor, right: Tensor) -> Tensor:
    """Solution of the system (B, K, K), (B, K, 1) by Gauss-Jordan elimination.

    It needs no pivots, since the matrix is a sum of squares and a ridge.
    """
    rows, size = torch.cat([matrix, right], dim=2), matrix.shape[1]
    one = torch.eye(size, device=matrix.device)
    for k in range(size):
        row = rows[:, k : k + 1] / rows[:, k : k + 1, k : k + 1]
        rows = rows - (rows[:, :, k : k + 1] - one[:, k : k + 1]) * row
    return rows[:, :, size:]


def _smoothed(flow: Tensor, window: int) -> Tensor:
    """Mean over ``window`` x ``window`` places; places outside the grid do not count."""
    return F.avg_pool2d(flow, window, 1, window // 2, count_include_pad=False)


def _clipped(flow: Tensor, limit: float | Tensor) -> Tensor:
    """Flow with vectors shortened to ``limit``."""
    return flow * (limit / _length(flow).clamp(min=limit))


def _length(flow: Tensor) -> Tensor:
    """Length of each vector, (B, 1, h, w). `torch.linalg.vector_norm` is far slower on a CPU."""
    if portable():
        return flow.square().sum(dim=1, keepdim=True).sqrt()
    return torch.hypot(flow[:, :1], flow[:, 1:])
