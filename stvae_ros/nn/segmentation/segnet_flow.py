"""SegNet-flow (arXiv 1511.06309, section 4.3): SegNet's labels, merged with the warped labels of the last frame."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stvae_ros.nn.interface import FramePredictor, State
from stvae_ros.nn.layers.warp import resize_flow, warp
from stvae_ros.nn.segmentation.interface import Segmentation, Segmenter, StagedStep


class MergingBlock(nn.Module):
    """Merging block M: a recurrent convolutional module for the scores of SegNet and the warped scores of the past.

    Two convolutions give a gate and a correction per class and pixel. An untrained block takes sigmoid(1), about three
    quarters, of SegNet's scores.
    """

    def __init__(self, classes: int, hidden: int = 32) -> None:
        super().__init__()
        self.look = nn.Conv2d(2 * classes + 1, hidden, 3, padding=1)
        self.merge = nn.Conv2d(hidden, 2 * classes, 3, padding=1)
        assert self.merge.bias is not None
        nn.init.zeros_(self.merge.weight)
        nn.init.zeros_(self.merge.bias)
        nn.init.constant_(self.merge.bias[:classes], 1.0)

    def forward(self, scores: Tensor, past: Tensor, difference: Tensor) -> Tensor:
        """Merge two estimates of the labels.

        Args:
            scores: log-probabilities of this frame, (B, K, H, W).
            past: merged log-probabilities of the last frame, warped to this one.
            difference: (B, 1, H, W) in [0, 1], between this frame and the warped last one. Where it is large, the past
                is unreliable.

        Returns:
            Merged log-probabilities.
        """
        hidden = torch.relu(self.look(torch.cat([scores, past, difference], dim=1)))
        gate, correction = self.merge(hidden).float().chunk(2, dim=1)
        return torch.log_softmax(torch.lerp(past, scores, torch.sigmoid(gate)) + correction, dim=1)


class SegNetFlowState(NamedTuple):
    """State of a `SegNetFlow`.

    Attributes:
        scores: merged log-probabilities of the last frame, (B, K, H, W).
        frame: the last frame, (B, 3, H, W).
        predicted_flow: flow predicted after it, (B, 2, H, W) in pixels of the frame.
        started: 1 if there was a last frame, else 0, (B, 1, 1, 1).
        flow_network: state of the frame predictor.
    """

    scores: Tensor
    frame: Tensor
    predicted_flow: Tensor
    started: Tensor
    flow_network: State

    def flatten(self) -> State:
        """Return all tensors, those of the frame predictor last."""
        return (self.scores, self.frame, self.predicted_flow, self.started, *self.flow_network)

    @classmethod
    def unflatten(cls, flat: State) -> SegNetFlowState:
        """Invert `flatten`."""
        scores, frame, predicted_flow, started, *flow_network = flat
        return cls(scores, frame, predicted_flow, started, tuple(flow_network))


class SegNetFlow(Segmenter):
    """A segmenter of single frames, a frame predictor that gives the flow, and the merging block.

    The flow from the last frame to this one is the observed flow, or the flow predicted after the last frame if the
    predictor observes none.

    Args:
        segnet: segmenter of single frames, without state.
        flow: frame predictor. It gets frames scaled up to a multiple of its ``size_multiple``.
    """

    recurrent = True

    def __init__(self, segnet: Segmenter, flow: FramePredictor) -> None:
        super().__init__()
        self.segnet, self.flow = segnet, flow
        self.merging = MergingBlock(segnet.classes)
        self.classes, self.min_size = segnet.classes, segnet.min_size

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Return zeros, flattened from `SegNetFlowState`; see `Segmenter.initial_state`."""
        self.check_size(height, width)
        flow_network = self.flow.initial_state(batch, *self._flow_size(height, width))
        device = flow_network[0].device
        scores, frame, flow = (
            torch.zeros(batch, channels, height, width, device=device) for channels in (self.classes, 3, 2)
        )
        started = torch.zeros(batch, 1, 1, 1, device=device)
        return SegNetFlowState(scores, frame, flow, started, flow_network).flatten()

    def staged_step(self, frame: Tensor, state: State) -> StagedStep:
        """Yield after the stages of SegNet, then run flow and merging; see `Segmenter.staged_step`."""
        last = SegNetFlowState.unflatten(state)
        segmentation, _ = yield from self.segnet.staged_step(frame, ())
        scores = torch.log_softmax(segmentation.scores, dim=1)
        yield
        prediction, flow_network = self.flow.step(self._flow_input(frame), last.flow_network)
        flow = _resized(prediction.observed_flow, frame, last.predicted_flow)
        difference = (warp(last.frame, flow) - frame).abs().mean(dim=1, keepdim=True)
        # Without a last frame SegNet's scores are merged with themselves.
        past = torch.where(last.started > 0, warp(last.scores, flow), scores)
        merged = self.merging(scores, past, difference * last.started)
        predicted_flow = _resized(prediction.flow, frame, last.predicted_flow)
        new = SegNetFlowState(merged, frame, predicted_flow, torch.ones_like(last.started), flow_network)
        return Segmentation(merged, prediction), new.flatten()

    def prediction_targets(self, frames: Tensor) -> Tensor:
        """Convert frames (B, T, 3, H, W) to the format of the predicted frames, (B, T, C, h, w)."""
        return self._flow_input(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def _flow_size(self, height: int, width: int) -> tuple[int, int]:
        """Smallest size that the frame predictor takes and that is not smaller than a frame."""
        multiple = self.flow.size_multiple
        return -(-height // multiple) * multiple, -(-width // multiple) * multiple

    def _flow_input(self, frame: Tensor) -> Tensor:
        """The frame in the size and the colours that the frame predictor takes."""
        if self.flow.in_channels == 1:
            weights = torch.tensor([0.299, 0.587, 0.114], device=frame.device).view(1, 3, 1, 1)
            frame = (frame * weights).sum(dim=1, keepdim=True)
        size = self._flow_size(*frame.shape[-2:])
        if frame.shape[-2:] == size:
            return frame
        return F.interpolate(frame, size=size, mode="bilinear", align_corners=False)


def _resized(flow: Tensor | None, frame: Tensor, default: Tensor) -> Tensor:
    """``flow`` at the size of ``frame``, or ``default`` if it is None."""
    return default if flow is None else resize_flow(flow, *frame.shape[-2:])
