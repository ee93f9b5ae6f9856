"""Huber smoothness layer H of the paper: a penalty that acts through its gradient only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def central_differences(field: Tensor) -> tuple[Tensor, Tensor]:
    """Spatial derivatives by the paper's fixed 3x3 central-difference filters.

    Border pixels, which the filter does not cover fully, are left out.

    Args:
        field: (B, C, H, W).

    Returns:
        The derivative along x, (B, C, H, W - 2), and along y, (B, C, H - 2, W).
    """
    return (field[..., 2:] - field[..., :-2]) / 2, (field[..., 2:, :] - field[..., :-2, :]) / 2


class _HuberGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, field: Tensor, weight: float, delta: float) -> Tensor:
        ctx.save_for_backward(field)
        ctx.weight, ctx.delta = weight, delta
        return field.view_as(field)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (field,) = ctx.saved_tensors
        slopes_x, slopes_y = (d.clamp(-ctx.delta, ctx.delta) / 2 for d in central_differences(field))
        penalty = torch.zeros_like(field)
        penalty[..., 2:] += slopes_x
        penalty[..., :-2] -= slopes_x
        penalty[..., 2:, :] += slopes_y
        penalty[..., :-2, :] -= slopes_y
        return grad_outputs[0] + penalty * (ctx.weight / field.numel()), None, None


class HuberSmoothness(nn.Module):
    """Identity in the forward pass; the backward pass adds w_H times the gradient of Huber_delta(grad field).

    Source: arXiv 1511.06309, section 3.4. The Huber norm is a mean over the field, like the reconstruction loss over
    the frame.

    Args:
        weight: w_H; 1e-2 in the paper.
        delta: slope at which the penalty changes from quadratic to linear; 1e-3 in the paper.
    """

    def __init__(self, weight: float = 1e-2, delta: float = 1e-3) -> None:
        super().__init__()
        self.weight = weight
        self.delta = delta

    def forward(self, field: Tensor) -> Tensor:
        """Return ``field``, (B, C, H, W), unchanged."""
        if not torch.is_grad_enabled():
            return field
        result: Tensor = _HuberGradient.apply(field, self.weight, self.delta)
        return result
