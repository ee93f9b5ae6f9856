"""stvae-rt: our own network, for real time on the CPU of a robot.

It has the parts of the video autoencoder (arXiv 1511.06309): encoder, ConvLSTM memory, flow, sampler and decoder.
Coarse-to-fine matching of the features of two frames gives the *observed* flow V, ``current(p) = last(p + V(p))``.
The memory turns it into the *predicted* flow B, ``next(p) = current(p + B(p))``, which is corrected by the errors of
past predictions. The sampler warps two images: the frame by B, and the *canvas* by a flow of its own. The canvas is an
image, kept from frame to frame, of the background behind moving objects. The decoder blends the two and corrects the
result. All flows are in pixels of the frame, whatever the resolution of their grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stvae_ros.nn.interface import FlowLevel, FramePredictor, Prediction, State
from stvae_ros.nn.layers.blocks import bias_of, convolutions, halve, join, up
from stvae_ros.nn.layers.lucas_kanade import alignment_step
from stvae_ros.nn.layers.portable import full_precision
from stvae_ros.nn.layers.warp import sample, warp
from stvae_ros.nn.stvae_rt.blending import alternative_predictions, blended, initial_blend
from stvae_ros.nn.stvae_rt.online_correction import RlsState, expected_innovation, initial_correction
from stvae_ros.nn.stvae_rt.parts import ChannelPlan, CoarseMatch, Decoder, MotionMemory, Refinement
from stvae_ros.nn.stvae_rt.static_mask import activity, forward_differences, motion_mask

_MARGIN_OF_PRIOR = -0.1
"""Cosine similarity by which the predicted flow must fit better than zero flow."""
_MARGIN_OF_MATCH = 0.02
"""Cosine similarity by which the flow at 1/16 must fit better than the predicted flow."""
_TOLERANCE = 0.05
"""Photometric error at which confidence falls to 1/e."""


class StvaeRtState(NamedTuple):
    """Memory between two frames. Shapes are for shrink r, and K channels of the ConvLSTM.

    Attributes:
        canvas: Background image (B, C, H, W), or without channels.
        last_frame: Last frame, grey (B, 1, H / r, W / r).
        flow: Flow predicted for the next frame (B, 2, H / 2r, W / 2r).
        hidden: Hidden state of the ConvLSTM (B, K, H / 8r, W / 8r).
        cell: Cell of the ConvLSTM, of the same shape.
        frames_seen: Number of frames so far, at most 2, (B, 1, 1, 1).
        correction: State of the online correction of the flow.
        blend: State of the blending of alternative predictions.
        features: Features of the last frame, at 1/4, 1/8 and, if there are three, 1/16.
    """

    canvas: Tensor
    last_frame: Tensor
    flow: Tensor
    hidden: Tensor
    cell: Tensor
    frames_seen: Tensor
    correction: RlsState
    blend: RlsState
    features: tuple[Tensor, ...]

    @classmethod
    def from_flat(cls, state: State) -> StvaeRtState:
        """Name the tensors of a flat state."""
        canvas, last_frame, flow, hidden, cell, frames_seen = state[:6]
        correction, blend, features = RlsState(*state[6:10]), RlsState(*state[10:14]), state[14:]
        return cls(canvas, last_frame, flow, hidden, cell, frames_seen, correction, blend, features)

    def flat(self) -> State:
        """All tensors in one tuple, in the order of the fields."""
        return (*self[:6], *self.correction, *self.blend, *self.features)


class RealTimeNetwork(FramePredictor):
    """The network of this module. The options that can be switched off serve ablation studies.

    Args:
        plan: Channel counts.
        memory: If False, every step starts with empty hidden state, canvas and predicted flow.
        correlation: Match features.
        refinement: Refine the flow at 1/4. If False, the flow stays at 1/8 of the resolution.
        blend: Keep a canvas, if the plan has one.
        adaptation: Learn online from the frames of the camera. Off in training, whose sequences are too short.
        in_channels: Channels of the frame: 3 for RGB, 1 for grey or signed event counts, 2 for counts per polarity.
    """

    size_multiple = 16
    draws_detail = True

    def __init__(
        self,
        plan: ChannelPlan,
        memory: bool = True,
        correlation: bool = True,
        refinement: bool = True,
        blend: bool = True,
        adaptation: bool = True,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.plan, self.memory, self.refinement, self.canvas = plan, memory, refinement, blend and plan.canvas
        self.adaptation = adaptation and memory
        stages = pairwise((in_channels, *plan.encoder))
        self.encoder = nn.ModuleList(convolutions(i, o, *([o] if i > 3 else []), stride=2) for i, o in stages)
        self.match_16 = CoarseMatch(plan.encoder[3], plan.coarse, correlation) if len(plan.encoder) > 3 else None
        self.memory_8 = MotionMemory(plan, correlation, self.canvas)
        self.refine_4 = Refinement(plan, correlation, self.canvas)
        self.log_damping = nn.Parameter(torch.tensor(-8.0))
        self.decoder = Decoder(plan, self.canvas, in_channels)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Zeros, as a flat `StvaeRtState`."""
        self.check_size(height, width)
        device = next(self.parameters()).device

        def zeros(channels: int, scale: int) -> Tensor:
            return torch.zeros(batch, channels, height // scale, width // scale, device=device)

        r, plan = self.plan.shrink, self.plan
        return StvaeRtState(
            canvas=zeros(self.in_channels * self.canvas, 1),
            last_frame=zeros(1, r),
            flow=zeros(2, 2 * r),
            hidden=zeros(plan.memory, 8 * r),
            cell=zeros(plan.memory, 8 * r),
            frames_seen=torch.zeros(batch, 1, 1, 1, device=device),
            correction=initial_correction(batch, height // (8 * r), width // (8 * r), device),
            blend=initial_blend(batch, height * plan.alternatives, width * plan.alternatives, device),
            features=tuple(zeros(channels, (4 * r) << index) for index, channels in enumerate(plan.encoder[1:])),
        ).flat()

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """See `FramePredictor.step`. The first frame is predicted to stay as it is."""
        if frame.device.type != "cpu" or bias_of(self.decoder.output).dtype == torch.float32:
            prediction, new = self._step(frame, StvaeRtState.from_flat(state))
        else:
            # With half-precision weights every cast is explicit, and autocast would only cost time.
            with full_precision(frame.device):
                prediction, new = self._step(frame, StvaeRtState.from_flat(state))
        return prediction, new.flat()

    def _step(self, frame: Tensor, state: StvaeRtState) -> tuple[Prediction, StvaeRtState]:
        """`step` on a named state."""
        r, learns = self.plan.shrink, self.adaptation and not self.training
        if not self.memory:
            flow, hidden, cell = (torch.zeros_like(part) for part in (state.flow, state.hidden, state.cell))
            state = state._replace(flow=flow, hidden=hidden, cell=cell)
        predicted_before = (state.frames_seen - 1).clamp(min=0)

        # Encode: features for matching, grey images for alignment.
        features, frame, now_1 = self._encode(frame)
        now_2, last_2 = halve(now_1), halve(state.last_frame)
        active = activity(now_2, last_2, 8 // r) * state.frames_seen.clamp(max=1)
        active_2 = up(active, 8 // r)

        # Match, update the memory and refine, from coarse to fine.
        levels, motion, context, hidden, cell = self._estimate_motion(features, now_2, last_2, state)
        motion = up(motion) * active_2
        v, b, behind = motion[:, :2], motion[:, 2:4], motion[:, 4:]
        change = torch.zeros_like(v)
        if self.refinement:
            change = alignment_step(now_1, state.last_frame, v, 5, self.log_damping.exp()) * active_2
        v = v + change
        error = (now_2 - warp(last_2, v / 2)).abs()
        moves = motion_mask(now_2, last_2, error, 2 * r)
        change, error, arrives = warp(torch.cat([change, error, moves], dim=1), b / 2).split([2, 1, 1], dim=1)
        b = b + change
        levels.append(FlowLevel(v, b))

        # Correct the predicted flow online, and set both flows to zero where nothing moves.
        correction = state.correction
        if learns:
            v_8, b_8 = halve(halve(torch.cat([v, b], dim=1))).split(2, dim=1)
            change, correction = expected_innovation(v_8, b_8, _texture(now_2) * predicted_before, 8, correction)
            b = b + up(change, 4) * active_2
        v, b = v * moves, b * torch.maximum(moves, arrives)

        # Warp the frame and the canvas.
        full = up(torch.cat([_scaled(v, r), _scaled(b, r), _scaled(behind[:, :4], r), behind[:, 4:]], dim=1), 2 * r)
        observed, flow = full[:, :2], full[:, 2:4]
        moved, uncovered, canvas = warp(frame, flow), None, state.canvas
        if self.canvas:
            canvas = torch.lerp(frame, warp(canvas, full[:, 4:6]), full[:, 8:])
            uncovered = warp(canvas, full[:, 6:8])
            canvas = canvas if self.memory else frame

        # Decode, and blend in alternative predictions.
        blends, blend, others = self.plan.alternatives and learns, state.blend, []
        if blends or self.plan.depth:
            others = alternative_predictions(frame, observed, flow, active)
        if r > 1:
            error, active_2 = up(torch.cat([error, active_2], dim=1), r).split(1, dim=1)
        drawn, weight = self.decoder(moved, uncovered, others, error, context, active_2)
        if blends:
            drawn, blend = blended(frame, drawn, others, flow, active, predicted_before, blend)
        confidence = (1 - weight) * torch.exp(error / -_TOLERANCE)
        if r > 1:
            levels = [level.scaled(r) for level in levels]
        seen = (state.frames_seen + 1).clamp(max=2)
        new = StvaeRtState(canvas, now_1, b, hidden, cell, seen, correction, blend, features)
        return Prediction(drawn, flow, None, observed, confidence, tuple(levels)), new

    def _encode(self, frame: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """Features of unit length from 1/4 on, the frame in float32, and its grey values at 1 / shrink."""
        small = frame = frame.float()
        frame = frame.contiguous()
        grey = frame
        if self.plan.shrink > 1:
            small = grey = halve(frame)
        dtype = bias_of(self.decoder.output).dtype
        x = self.encoder[0]((small - 0.5).to(dtype, memory_format=torch.channels_last))
        features = []
        for stage in self.encoder[1:]:
            x = stage(x)
            features.append(_unit(x))
        return tuple(features), frame, grey.mean(dim=1, keepdim=True)

    def _estimate_motion(
        self, features: tuple[Tensor, ...], now_2: Tensor, last_2: Tensor, state: StvaeRtState
    ) -> tuple[list[FlowLevel], Tensor, Tensor, Tensor, Tensor]:
        """Motion at 1/4, from coarse to fine.

        Args:
            features: Features of this frame.
            now_2: This frame, grey at 1/2.
            last_2: The last frame, grey at 1/2.
            state: State after the last frame.

        Returns:
            The flows of each level, the motion at 1/4 (see `MotionMemory`), features of the next frame for the
            decoder, and the new hidden state and cell.
        """
        now_8, last_8 = features[1], state.features[1]
        prior_4 = halve(state.flow)
        prior_8 = halve(prior_4)
        # All that is known of the last frame at 1/8 moves by the predicted flow where that fits, else it stays.
        memory = join([last_8, state.hidden, state.cell], torch.float32)
        channels = [last_8.shape[1], state.hidden.shape[1], state.cell.shape[1]]
        moved = sample(memory, prior_8 / 8)
        trusted = _is_better(now_8, _normalized(moved[:, : channels[0]]), last_8, _MARGIN_OF_PRIOR)
        moved = torch.where(trusted, moved, memory)
        prior_4, prior_8 = prior_4 * up(trusted.float()), prior_8 * trusted
        levels, start_8 = [], prior_8
        if self.match_16 is not None:
            v_16 = self.match_16(features[2], state.features[2], halve(prior_8))
            levels.append(FlowLevel(v_16, None))
            far = up(v_16)
            moved_far = sample(memory, far / 8)
            first, second = (_normalized(each[:, : channels[0]]) for each in (moved_far, moved))
            better = _is_better(now_8, first, second, _MARGIN_OF_MATCH)
            moved, start_8 = torch.where(better, moved_far, moved), torch.where(better, far, prior_8)
        motion, hidden, cell = self.memory_8(now_8, *moved.split(channels, dim=1), start_8, prior_8)
        levels.append(FlowLevel(motion[:, :2], motion[:, 2:4]))
        motion = up(motion)
        if self.refinement:
            motion, context = self.refine_4(features[0], state.features[0], now_2, last_2, motion, prior_4, hidden)
        else:
            context = features[0].new_zeros(len(motion), self.plan.quarter, *motion.shape[2:])
        levels.append(FlowLevel(motion[:, :2], motion[:, 2:4]))
        return levels, motion, context, hidden, cell


def _scaled(flow: Tensor, factor: int) -> Tensor:
    """Flow times ``factor``, without a copy if that is 1."""
    return flow if factor == 1 else factor * flow


def _unit(features: Tensor) -> Tensor:
    """Features minus their mean over the image, scaled to unit length at every pixel."""
    features = features - features.mean(dim=(2, 3), keepdim=True)
    return features * torch.rsqrt((features * features).sum(dim=1, keepdim=True) + 1e-6).to(features.dtype)


def _normalized(features: Tensor) -> Tensor:
    """Features scaled to unit length at every pixel."""
    return features / features.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-12)


def _is_better(now: Tensor, first: Tensor, second: Tensor, margin: float) -> Tensor:
    """Where the features of this frame are more similar to ``first`` than to ``second``.

    Args:
        now: Features of this frame (B, C, h, w).
        first: Features of the last frame, warped by one flow.
        second: The same, warped by another flow or not at all.
        margin: Least difference of cosine similarity, as a mean over 5x5 pixels.

    Returns:
        Boolean mask (B, 1, h, w).
    """
    gain = (now * (first - second)).sum(dim=1, keepdim=True)
    return F.avg_pool2d(gain, 5, 1, 2, count_include_pad=False) > margin


def _texture(image: Tensor) -> Tensor:
    """Strength of the gradient of (B, 1, H, W), as (B, 1, H / 4, W / 4). It weights the errors of the flow."""
    x, y = forward_differences(image)
    return halve(halve(x * x + y * y)).sqrt()


REAL_TIME: Mapping[str, Callable[..., FramePredictor]] = {
    "stvae-rt-s": partial(
        RealTimeNetwork,
        ChannelPlan((16, 32, 48), 32, 32, 32, 8, 16, canvas=False, alternatives=False, shrink=2),
    ),
    "stvae-rt-m": partial(RealTimeNetwork, ChannelPlan((16, 32, 64), 64, 64, 48, 16, 32)),
    "stvae-rt-l": partial(RealTimeNetwork, ChannelPlan((16, 32, 64, 96), 64, 64, 48, 16, 32, depth=2)),
}
