"""Blending of alternative predictions into the output, weighted by their recent accuracy.

Where motion is uncertain, the image with the least squared error is the mean of the possible images. The alternatives
are the frame warped by its *observed* flow, as if motion stayed in place in the image; the frame warped by a smooth
flow, as if everything moved with its surroundings; and the prediction blurred along x or y where recent errors were
large. Their weights come from recursive least squares, as in `online_correction`. No parameter is trained.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.layers.blocks import up
from stvae_ros.nn.layers.portable import full_precision
from stvae_ros.nn.layers.warp import warp
from stvae_ros.nn.stvae_rt.online_correction import RlsState, least_squares

ALTERNATIVES = 2
"""Number of frames that `alternative_predictions` returns."""
_TERMS = ALTERNATIVES + 2
_CELL = 16
"""Side, in pixels, of the squares over which flow and errors are averaged."""
_RIDGE = 0.1
"""Ridge of the least squares, whose targets and regressors are divided by the error of the prediction."""
_EXACT = 1e-6
"""Squared error, of values in [0, 1], below which a prediction is exact and carries no information."""


def initial_blend(batch: int, height: int, width: int, device: torch.device) -> RlsState:
    """State of `blended` before the first frame of ``height`` x ``width`` pixels.

    Its images are grey, (B, 1, H / 2, W / 2), and sampled at every second pixel along both axes.
    """
    half = (height // 2, width // 2)
    return RlsState(
        torch.zeros(batch, 1, *half, device=device),
        torch.zeros(batch, _TERMS, *half, device=device),
        torch.zeros(batch, _TERMS, _TERMS, device=device),
        torch.zeros(batch, _TERMS, 1, device=device),
    )


def alternative_predictions(frame: Tensor, observed: Tensor, predicted: Tensor, active: Tensor) -> list[Tensor]:
    """The next frame if motion stays in place in the image, and if everything moves with its surroundings.

    Args:
        frame: This frame (B, C, H, W).
        observed: Observed flow in pixels (B, 2, H, W).
        predicted: Predicted flow in pixels (B, 2, H, W).
        active: Activity (B, 1, H / 16, W / 16), 0 where nothing moves.

    Returns:
        Two frames (B, C, H, W).
    """
    smooth = F.avg_pool2d(F.avg_pool2d(predicted, _CELL), 3, 1, 1, count_include_pad=False)
    return [warp(frame, observed), warp(frame, up(smooth * active, _CELL))]


def blended(
    frame: Tensor, drawn: Tensor, others: list[Tensor], flow: Tensor, active: Tensor, counts: Tensor, state: RlsState
) -> tuple[Tensor, RlsState]:
    """Blend alternatives into the predicted frame.

    Args:
        frame: This frame (B, C, H, W) in [0, 1].
        drawn: Prediction of the next frame (B, C, H, W).
        others: The `alternative_predictions`.
        flow: Predicted flow in pixels (B, 2, H, W).
        active: Activity (B, 1, H / 16, W / 16), 0 where nothing moves.
        counts: (B, 1, 1, 1), 1 if ``state`` holds a prediction of this frame, else 0.
        state: State after the last frame.

    Returns:
        The blended prediction (B, C, H, W) and the new state.
    """
    with full_precision(frame.device):
        error = _thinned(frame) - state.prediction
        squared = error.square().mean(dim=(2, 3))[..., None]
        x, y = state.regressors.flatten(2), error.flatten(2).transpose(1, 2)
        weighted = x * (torch.where(squared > _EXACT, counts[..., 0] / squared, 0) / x.shape[2])
        weights, gram, moments = least_squares(weighted, x, y, state.gram, state.moments, _RIDGE)

        errors = warp(F.avg_pool2d(error.abs(), _CELL // 2), F.avg_pool2d(flow, _CELL) / _CELL)
        blur = errors / (errors + 2 * errors.mean(dim=(2, 3), keepdim=True) + _EXACT) * active
        padded = F.pad(drawn, (1, 1, 1, 1), mode="replicate")
        grey = padded.mean(dim=1, keepdim=True)
        prediction = grey[..., 1:-1:2, 1:-1:2].contiguous()
        along_x = (grey[..., 1:-1:2, :-2:2] + grey[..., 1:-1:2, 2::2]).sub_(prediction, alpha=2)
        along_y = (grey[..., :-2:2, 1:-1:2] + grey[..., 2::2, 1:-1:2]).sub_(prediction, alpha=2)
        blur_2 = up(blur, _CELL // 2)
        changes = [*(_thinned(other) - prediction for other in others), along_x * blur_2, along_y * blur_2]
        state = RlsState(prediction, torch.cat(changes, dim=1), gram, moments)

        # Memory bandwidth limits these operations on whole frames, so there are few of them.
        *shares, to_x, to_y = weights[..., None, None].unbind(dim=1)
        result = (padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]).mul_(to_x)
        result.addcmul_(padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1], to_y)
        result.addcmul_(drawn, to_x + to_y, value=-2).mul_(up(blur, _CELL))
        for share, other in zip(shares, others, strict=True):
            result.addcmul_(other, share)
        return result.addcmul_(drawn, 1 - torch.stack(shares).sum(dim=0)), state


def _thinned(image: Tensor) -> Tensor:
    """Grey values of every second pixel along both axes, (B, 1, H / 2, W / 2)."""
    return image[..., ::2, ::2].mean(dim=1, keepdim=True)
