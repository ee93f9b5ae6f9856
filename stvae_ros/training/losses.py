"""Training losses over a sequence of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.interface import Prediction
from stvae_ros.nn.layers.huber import central_differences
from stvae_ros.nn.layers.warp import warp


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
    psnr: natural logarithm of the squared error of the predicted frame, which is its PSNR but for a factor: a still
        scene, where the error is small, counts as much as a wild one.
    observed: Charbonnier error of the last frame moved by the observed flow, and of its gradients, at every scale of
        the pyramid; predicted: the same for the predicted flow.
    pyramid_flow: Charbonnier end-point error at every scale, of both flows, where the truth is known.
    smoothness: change of both flows from pixel to pixel, less where the image changes too.
    skip: leading frames of a sequence that do not count, because motion takes two frames to see.
    """

    frame: float = 1.0
    gradient: float = 0.0
    warped: float = 0.0
    flow: float = 0.0
    cross_entropy: float = 0.0
    sparsity: float = 0.0
    psnr: float = 0.0
    observed: float = 0.0
    predicted: float = 0.0
    pyramid_flow: float = 0.0
    smoothness: float = 0.0
    skip: int = 0


_BEST_ERROR = 1e-4
"""Squared error, 40 dB, below which `psnr` gains no more."""
_LEVEL_WEIGHTS = (1.0, 0.5, 0.3, 0.2)
"""Of the scales of a pyramid, the finest first."""


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
    if weights.psnr:
        squared = ((decoded - following) ** 2).flatten(1).mean(dim=1)
        losses["psnr"] = steps * torch.log(squared + _BEST_ERROR).mean()
    if weights.observed or weights.predicted or weights.pyramid_flow or weights.smoothness:
        pyramid = pyramid_losses(predictions, frames, flow, flow_known, max(weights.skip, 1))
        losses |= {name: steps * value for name, value in pyramid.items() if getattr(weights, name)}
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


def pyramid_losses(
    predictions: Sequence[Prediction], frames: Tensor, flow: Tensor, flow_known: Tensor, first: int
) -> dict[str, Tensor]:
    """The terms `observed`, `predicted`, `pyramid_flow` and `smoothness` of `LossWeights`, as means.

    Arguments as for `sequence_losses`; predictions from number ``first`` on count, at least 1, because the observed
    flow needs the frame before. All is compared at half the resolution of the frames. Raises ValueError for a network
    without a pyramid.
    """
    used = predictions[first:]
    if not all(p.levels for p in used):
        raise ValueError("loss.observed, predicted, pyramid_flow and smoothness need a network with a pyramid of flows")
    small = F.avg_pool2d(frames.flatten(0, 1), 2).unflatten(0, frames.shape[:2])
    last, now, following = (small[:, first + k : small.shape[1] - 1 + k].flatten(0, 1) for k in (-1, 0, 1))
    known = F.avg_pool2d(flow_known.float().flatten(0, 1)[:, None], 2).unflatten(0, flow.shape[:2]) == 1
    truth = F.avg_pool2d(flow.flatten(0, 1), 2).unflatten(0, flow.shape[:2])
    past, future = slice(first - 1, -1), slice(first, None)
    sides = {
        "observed": (last, now, truth[:, past].flatten(0, 1), known[:, past].flatten(0, 1)),
        "predicted": (now, following, truth[:, future].flatten(0, 1), known[:, future].flatten(0, 1)),
    }
    terms = {name: frames.new_zeros(()) for name in ("observed", "predicted", "pyramid_flow", "smoothness")}
    for depth, weight in enumerate(_LEVEL_WEIGHTS[: len(used[0].levels)]):
        for side, (source, target, true_flow, is_known) in sides.items():
            parts = [getattr(p.levels[-1 - depth], side) for p in used]
            if parts[0] is None:
                continue
            estimate = F.interpolate(
                torch.stack(parts, dim=1).flatten(0, 1), size=target.shape[-2:], mode="bilinear", align_corners=False
            )
            difference = warp(source, estimate / 2) - target
            photometric = charbonnier(difference**2, 1e-2).mean()
            photometric = photometric + sum(charbonnier(d**2, 1e-2).mean() for d in central_differences(difference))
            terms[side] = terms[side] + weight * photometric
            squared = ((estimate - true_flow) ** 2).sum(dim=1, keepdim=True)
            terms["pyramid_flow"] = terms["pyramid_flow"] + weight * (charbonnier(squared, 0.05) * is_known).mean()
            if depth == 0:
                terms["smoothness"] = terms["smoothness"] + _smoothness(estimate, target)
    return terms


def _smoothness(flow: Tensor, image: Tensor) -> Tensor:
    total = flow.new_zeros(())
    for dim in (2, 3):
        edge = torch.exp(-20 * image.diff(dim=dim).abs().mean(dim=1, keepdim=True))
        total = total + (charbonnier(flow.diff(dim=dim) ** 2, 1e-2) * edge).mean()
    return total
