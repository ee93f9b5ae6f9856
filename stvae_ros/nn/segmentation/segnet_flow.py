"""SegNet-flow (arXiv 1511.06309, section 4.3): labels of a frame from SegNet and from those of the frame before."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stvae_ros.nn.interface import FramePredictor, State
from stvae_ros.nn.layers.warp import resize_flow, warp
from stvae_ros.nn.segmentation.interface import Pieces, Segmentation, Segmenter


class MergingBlock(nn.Module):
    """M, a recurrent convolutional module: what SegNet says of this frame, and what was merged before, moved along.

    A gate, for each class and pixel, says how much of each is taken, and two convolutions what is added. Untrained, it
    takes three quarters of SegNet's.
    """

    def __init__(self, classes: int, hidden: int = 32) -> None:
        super().__init__()
        self.look = nn.Conv2d(2 * classes + 1, hidden, 3, padding=1)
        self.merge = nn.Conv2d(hidden, 2 * classes, 3, padding=1)
        assert self.merge.bias is not None
        nn.init.zeros_(self.merge.weight)
        nn.init.zeros_(self.merge.bias)
        nn.init.constant_(self.merge.bias[:classes], 1.0)

    def forward(self, scores: Tensor, carried: Tensor, difference: Tensor) -> Tensor:
        """Log-probabilities (B, K, H, W) of SegNet and of the past -> merged ones.

        difference: (B, 1, H, W) in [0, 1], between this frame and the one before, moved along: where it is large, the
        past cannot be trusted.
        """
        hidden = torch.relu(self.look(torch.cat([scores, carried, difference], dim=1)))
        gate, added = self.merge(hidden).float().chunk(2, dim=1)
        return torch.log_softmax(torch.lerp(carried, scores, torch.sigmoid(gate)) + added, dim=1)


class SegNetFlow(Segmenter):
    """A SegNet, a network that tells the flow, and the merging block.

    The flow is that which the network observes between the last frame and this one, or if it observes none, that which
    it predicted after the last frame. It sees frames scaled to the multiple that it needs.

    State: merged log-probabilities (B, K, H, W), the last frame (B, 3, H, W), the flow predicted after it
    (B, 2, H, W), whether there was one (B, 1, 1, 1), and the state of the flow network.
    """

    recurrent = True

    def __init__(self, segnet: Segmenter, flow: FramePredictor) -> None:
        super().__init__()
        self.segnet, self.flow = segnet, flow
        self.merging = MergingBlock(segnet.classes)
        self.classes, self.min_size = segnet.classes, segnet.min_size

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Empty memory; raises ValueError for a frame that is too small."""
        self.check_size(height, width)
        multiple = self.flow.size_multiple
        size = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
        flow_state = self.flow.initial_state(batch, *size)
        device = flow_state[0].device
        return (
            torch.zeros(batch, self.classes, height, width, device=device),
            torch.zeros(batch, self.in_channels, height, width, device=device),
            torch.zeros(batch, 2, height, width, device=device),
            torch.zeros(batch, 1, 1, 1, device=device),
            *flow_state,
        )

    def pieces(self, frame: Tensor, state: State) -> Pieces:
        """Pieces are those of SegNet, and the flow with the merging."""
        merged, last, predicted_flow, started, *flow_state = state
        segmentation, _ = yield from self.segnet.pieces(frame, ())
        scores = torch.log_softmax(segmentation.scores, dim=1)
        yield
        height, width = frame.shape[-2:]
        prediction, new_flow_state = self.flow.step(self._seen(frame), tuple(flow_state))
        flow = predicted_flow
        if prediction.observed_flow is not None:
            flow = resize_flow(prediction.observed_flow, height, width)
        difference = (warp(last, flow) - frame).abs().mean(dim=1, keepdim=True)
        # Without a past, what is merged with SegNet's is SegNet's own.
        carried = torch.where(started > 0, warp(merged, flow), scores)
        merged = self.merging(scores, carried, difference * started)
        if prediction.flow is not None:
            predicted_flow = resize_flow(prediction.flow, height, width)
        return Segmentation(merged, prediction), (
            merged,
            frame,
            predicted_flow,
            torch.ones_like(started),
            *new_flow_state,
        )

    def _seen(self, frame: Tensor) -> Tensor:
        """The frame as the flow network takes it."""
        multiple = self.flow.size_multiple
        height, width = (-(-size // multiple) * multiple for size in frame.shape[-2:])
        if self.flow.in_channels == 1:
            weights = torch.tensor([0.299, 0.587, 0.114], device=frame.device).view(1, 3, 1, 1)
            frame = (frame * weights).sum(dim=1, keepdim=True)
        if frame.shape[-2:] == (height, width):
            return frame
        return F.interpolate(frame, size=(height, width), mode="bilinear", align_corners=False)

    def seen(self, frames: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) as its predictions draw them, (B, T, C, h, w)."""
        return self._seen(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
