"""Training losses over a sequence of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.huber import central_differences
from stvae_ros.nn.interface import Prediction
from stvae_ros.nn.sampling import warp


@dataclass
class LossWeights:
    """Weight of each term; a term of weight 0 is not computed.

    frame: squared error of the decoded next frame (arXiv 1511.06309, final version; 1 there).
    gradient: squared error of its image gradients (added in the first version, "v1"; 1 there).
    warped: Charbonnier error of the input frame moved by the flow, which is what the node publishes.
    flow: Charbonnier end-point error in pixels where the true flow is known (synthetic scenes).
    cross_entropy: binary cross-entropy of the decoded next frame (the paper's loss on binary frames), in nats per
        pixel, for networks that end in a sigmoid.
    sparsity: L1 norm of the flow in pixels, which the paper names as missing, for uniform background.
    skip: leading frames of a sequence that do not count, because motion takes two frames to see.
    """

    frame: float = 1.0
    gradient: float = 0.0
    warped: float = 0.0
    flow: float = 0.0
    cross_entropy: float = 0.0
    sparsity: float = 0.0
    skip: int = 0


def charbonnier(squared: Tensor, epsilon: float) -> Tensor:
    """A differentiable absolute value of the root of ``squared``: sqrt(squared + epsilon^2) - epsilon."""
    return torch.sqrt(squared + epsilon**2) - epsilon


def sequence_losses(
    predictions: Sequence[Prediction], frames: Tensor, flow: Tensor, flow_known: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """Loss terms, unweighted, each summed over time of the mean over batch, channels and pixels.

    predictions: T of them; frames (B, T + 1, C, H, W); flow (B, T, 2, H, W) and flow_known (B, T, H, W) the
    truth. Only terms of non-zero weight are in the result. Raises ValueError if a term needs flow or logits and
    the network has none, or if ``skip`` leaves no frame.
    """
    used = predictions[weights.skip :]
    if not used:
        raise ValueError(f"loss.skip = {weights.skip} leaves nothing of sequences of {len(predictions)} frames")
    decoded = torch.stack([p.frame for p in used], dim=1).flatten(0, 1)
    current = frames[:, weights.skip : -1].flatten(0, 1)
    following = frames[:, weights.skip + 1 :].flatten(0, 1)
    steps = len(used)
    losses = {}
    if weights.frame:
        losses["frame"] = steps * torch.mean((decoded - following) ** 2)
    if weights.gradient:
        pairs = zip(central_differences(decoded), central_differences(following), strict=True)
        losses["gradient"] = steps * torch.stack([torch.mean((a - b) ** 2) for a, b in pairs]).sum()
    if weights.cross_entropy:
        logits = [p.logits for p in used if p.logits is not None]
        if not logits:
            raise ValueError("loss.cross_entropy needs a network that ends in a sigmoid: options: {sigmoid: true}")
        stacked = torch.stack(logits, dim=1).flatten(0, 1)
        losses["cross_entropy"] = steps * F.binary_cross_entropy_with_logits(stacked, following)
    if weights.warped or weights.flow or weights.sparsity:
        flows = [p.flow for p in used if p.flow is not None]
        if not flows:
            raise ValueError("loss.warped, loss.flow and loss.sparsity need a network that predicts flow")
        predicted = torch.stack(flows, dim=1).flatten(0, 1)
        if weights.warped:
            moved = warp(current, predicted)
            losses["warped"] = steps * charbonnier((moved - following) ** 2, 1e-2).mean()
        if weights.flow:
            known = flow_known[:, weights.skip :].flatten(0, 1)
            squared = ((predicted - flow[:, weights.skip :].flatten(0, 1)) ** 2).sum(dim=1)
            losses["flow"] = steps * (charbonnier(squared, 0.05) * known).mean()
        if weights.sparsity:
            losses["sparsity"] = steps * predicted.abs().sum(dim=1).mean()
    return losses
