"""Training losses over a sequence of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.interface import Prediction
from stvae_ros.nn.layers.huber import central_differences
from stvae_ros.nn.layers.warp import warp

_PSNR_EPSILON = 1e-4
"""Added to the squared error in the term `psnr`; a PSNR above 40 dB gains little more."""
_LEVEL_WEIGHTS = (1.0, 0.5, 0.3, 0.2)
"""Weights of the scales of a pyramid, finest first."""


@dataclass
class LossWeights:
    """Weight of each loss term. A term of weight 0 is not computed.

    Args:
        frame: squared error of the decoded next frame; 1 in the final version of the paper.
        gradient: squared error of the image gradients of the next frame; 1 in the first version ("v1").
        warped: Charbonnier error of the input frame warped by the flow.
        flow: Charbonnier end-point error in pixels, where the true flow is known.
        cross_entropy: binary cross-entropy of the decoded next frame in nats per pixel, as in the paper's Moving MNIST
            tables. The network must end in a sigmoid.
        sparsity: L1 norm of the flow in pixels, for uniform background; future work in the paper.
        psnr: natural logarithm of the squared error of the next frame, which is its PSNR up to a factor. A static scene
            with a small error counts as much as one with fast motion.
        observed: Charbonnier error of the last frame warped by the observed flow, and of its gradients, at every scale
            of the pyramid.
        predicted: the same for the current frame and the predicted flow.
        pyramid_flow: Charbonnier end-point error of both flows at every scale, where the true flow is known.
        smoothness: edge-aware smoothness of both flows at the finest scale.
        skip: number of leading frames without loss. Motion is visible from the second frame on.
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


def charbonnier(squared: Tensor, epsilon: float) -> Tensor:
    """Return sqrt(squared + epsilon^2) - epsilon, a differentiable absolute value."""
    return torch.sqrt(squared + epsilon**2) - epsilon


def sequence_losses(
    predictions: Sequence[Prediction], frames: Tensor, flow: Tensor, flow_known: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """Compute the loss terms of non-zero weight.

    Args:
        predictions: T predictions.
        frames: (B, T + 1, C, H, W).
        flow: true backward flow, (B, T, 2, H, W) in pixels.
        flow_known: whether the true flow is known, (B, T, H, W).
        weights: the terms to compute, and the frames to skip.

    Returns:
        Unweighted terms by name. Each is a mean over batch, channels and pixels, summed over time.

    Raises:
        ValueError: the network lacks the flow or the logits that a term needs, or no frame is left after the skip.
    """
    skip = weights.skip
    used = predictions[skip:]
    if not used:
        raise ValueError(f"loss.skip = {skip} leaves no frame of sequences of {len(predictions)} frames")
    current, following = frames[:, skip:-1].flatten(0, 1), frames[:, skip + 1 :].flatten(0, 1)
    terms = _frame_losses(used, following, weights)
    if weights.observed or weights.predicted or weights.pyramid_flow or weights.smoothness:
        terms |= pyramid_losses(predictions, frames, flow, flow_known, max(skip, 1))
    if weights.warped or weights.flow or weights.sparsity:
        truth, known = flow[:, skip:].flatten(0, 1), flow_known[:, skip:].flatten(0, 1)
        terms |= _flow_losses(used, current, following, truth, known, weights)
    return {name: len(used) * term for name, term in terms.items() if getattr(weights, name)}


def _frame_losses(used: Sequence[Prediction], following: Tensor, weights: LossWeights) -> dict[str, Tensor]:
    decoded, terms = _stack([p.frame for p in used]), {}
    if weights.frame:
        terms["frame"] = torch.mean((decoded - following) ** 2)
    if weights.gradient:
        pairs = zip(central_differences(decoded), central_differences(following), strict=True)
        terms["gradient"] = torch.stack([torch.mean((a - b) ** 2) for a, b in pairs]).sum()
    if weights.cross_entropy:
        logits = _stack([p.logits for p in used], "cross_entropy needs a network with options: {sigmoid: true}")
        terms["cross_entropy"] = F.binary_cross_entropy_with_logits(logits, following)
    if weights.psnr:
        squared = ((decoded - following) ** 2).flatten(1).mean(dim=1)
        terms["psnr"] = torch.log(squared + _PSNR_EPSILON).mean()
    return terms


def _flow_losses(
    used: Sequence[Prediction], current: Tensor, following: Tensor, truth: Tensor, known: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    flow, terms = _stack([p.flow for p in used], "warped, flow and sparsity need a network that predicts flow"), {}
    if weights.warped:
        terms["warped"] = charbonnier((warp(current, flow) - following) ** 2, 1e-2).mean()
    if weights.flow:
        terms["flow"] = (charbonnier(((flow - truth) ** 2).sum(dim=1), 0.05) * known).mean()
    if weights.sparsity:
        terms["sparsity"] = flow.abs().sum(dim=1).mean()
    return terms


class _Pair(NamedTuple):
    """Two frames at half resolution, with source warped by the true flow = target where it is known."""

    source: Tensor
    target: Tensor
    flow: Tensor
    known: Tensor


def pyramid_losses(
    predictions: Sequence[Prediction], frames: Tensor, flow: Tensor, flow_known: Tensor, first: int
) -> dict[str, Tensor]:
    """Compute the terms `observed`, `predicted`, `pyramid_flow` and `smoothness` of `LossWeights`, at half resolution.

    Args:
        predictions, frames, flow, flow_known: as in `sequence_losses`.
        first: index of the first prediction that counts, at least 1: an observed flow needs the frame before.

    Returns:
        Unweighted terms by name, means over batch, time and pixels.

    Raises:
        ValueError: the network has no pyramid of flows.
    """
    used = predictions[first:]
    if not all(p.levels for p in used):
        raise ValueError("loss.observed, predicted, pyramid_flow and smoothness need a network with a flow pyramid")
    images, truth = _half(frames), _half(flow)
    known = _half(flow_known.float()[:, :, None]) == 1
    last, now, following = (images[:, first + k : images.shape[1] - 1 + k].flatten(0, 1) for k in (-1, 0, 1))
    before, after = slice(first - 1, -1), slice(first, None)
    pairs = {
        "observed": _Pair(last, now, truth[:, before].flatten(0, 1), known[:, before].flatten(0, 1)),
        "predicted": _Pair(now, following, truth[:, after].flatten(0, 1), known[:, after].flatten(0, 1)),
    }
    terms = {name: frames.new_zeros(()) for name in ("observed", "predicted", "pyramid_flow", "smoothness")}
    for depth, weight in enumerate(_LEVEL_WEIGHTS[: len(used[0].levels)]):
        for name, pair in pairs.items():
            flows = [getattr(p.levels[-1 - depth], name) for p in used]
            if flows[0] is None:
                continue
            estimate = F.interpolate(_stack(flows), size=pair.target.shape[-2:], mode="bilinear", align_corners=False)
            difference = warp(pair.source, estimate / 2) - pair.target  # The flow is in pixels of the full resolution.
            photometric = charbonnier(difference**2, 1e-2).mean()
            photometric = photometric + sum(charbonnier(d**2, 1e-2).mean() for d in central_differences(difference))
            terms[name] = terms[name] + weight * photometric
            squared = ((estimate - pair.flow) ** 2).sum(dim=1, keepdim=True)
            terms["pyramid_flow"] = terms["pyramid_flow"] + weight * (charbonnier(squared, 0.05) * pair.known).mean()
            if depth == 0:
                terms["smoothness"] = terms["smoothness"] + _smoothness(estimate, pair.target)
    return terms


def _stack(steps: Sequence[Tensor | None], need: str = "") -> Tensor:
    """Stack T tensors (B, ...) to one of (B T, ...), batch first; raise ValueError with ``need`` if they are None."""
    tensors = [step for step in steps if step is not None]
    if not tensors:
        raise ValueError(f"loss.{need}")
    return torch.stack(tensors, dim=1).flatten(0, 1)


def _half(sequence: Tensor) -> Tensor:
    """Average 2x2 pixels of (B, T, C, H, W)."""
    return F.avg_pool2d(sequence.flatten(0, 1), 2).unflatten(0, sequence.shape[:2])


def _smoothness(flow: Tensor, image: Tensor) -> Tensor:
    """Charbonnier norm of the flow's gradient, with less weight at edges of the image."""
    total = flow.new_zeros(())
    for dim in (2, 3):
        edge = torch.exp(-20 * image.diff(dim=dim).abs().mean(dim=1, keepdim=True))
        total = total + (charbonnier(flow.diff(dim=dim) ** 2, 1e-2) * edge).mean()
    return total
