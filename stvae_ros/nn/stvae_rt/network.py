"""stvae-rt: our own network, for real time on a robot's CPU.

It has the parts of the video autoencoder (arXiv 1511.06309): encoder, ConvLSTM memory, flow, sampler and decoder.
Matching the features of two frames, from coarse to fine, gives the *observed* flow V, ``current(p) = last(p +
V(p))``; memory makes of it the *predicted* flow B, ``next(p) = current(p + B(p))``, and how former predictions came
out makes that better. The sampler moves two images: the frame by B, and by a flow of its own the *canvas*, an image
kept from frame to frame of what lies behind moving things. A decoder blends the two and corrects the result. All
flows are in pixels of the frame, whatever the resolution of their grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stvae_ros.nn.interface import FlowLevel, FramePredictor, Prediction, State
from stvae_ros.nn.layers.blocks import convolutions, join, up
from stvae_ros.nn.layers.lucas_kanade import alignment_step
from stvae_ros.nn.layers.warp import sample, warp
from stvae_ros.nn.stvae_rt.blending import Record, mixed, no_record, other_guesses
from stvae_ros.nn.stvae_rt.online_correction import Evidence, expected_surprise, no_evidence
from stvae_ros.nn.stvae_rt.parts import CoarseMatch, Decoder, MotionMemory, Refinement, Size
from stvae_ros.nn.stvae_rt.static_mask import activity, motion_mask

_MARGIN = 0.1
"""Of the cosine between features, by which a predicted flow may be worse than none before it is forgotten."""
_GAIN = 0.02
"""Of the cosine between features, by which flow found at 1/16 must be better than the one predicted."""
_TOLERANCE = 0.05
"""Photometric error at which confidence falls to 1/e."""


class RealTimeNetwork(FramePredictor):
    """See the module; each part has a class of its own in `realtime_parts`. Options that are off serve the ablation.

    size: channels. in_channels: of the frame, 3 for RGB, 1 for grey or signed counts of events, 2 for counts of each
    polarity. memory: False empties hidden state, canvas and last prediction at every frame, so that two frames
    alone count. correlation: False takes the matching of features away. refinement: False ends the flow at 1/8 of the
    resolution. blend: False leaves the canvas out. adaptation: False takes away what is learnt from a camera's own
    frames, see `adaptation`; in training it is off, sequences are too short for it.
    """

    size_multiple = 16
    draws_detail = True

    def __init__(
        self,
        size: Size,
        memory: bool = True,
        correlation: bool = True,
        refinement: bool = True,
        blend: bool = True,
        adaptation: bool = True,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.size, self.memory, self.refinement, self.canvas = size, memory, refinement, blend and size.canvas
        self.adaptation = adaptation and memory
        stages = pairwise((in_channels, *size.encoder))
        self.encoder = nn.ModuleList(convolutions(i, o, *([o] if i > 3 else []), stride=2) for i, o in stages)
        self.match_16 = CoarseMatch(size.encoder[3], size.coarse, correlation) if len(size.encoder) > 3 else None
        self.memory_8 = MotionMemory(size, correlation, self.canvas)
        self.refine_4 = Refinement(size, correlation, self.canvas)
        self.log_damping = nn.Parameter(torch.tensor(-8.0))
        self.decoder = Decoder(size, self.canvas, in_channels)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Canvas, last frame in grey, flow predicted, hidden, cell, frames seen (to 2), evidence, record, features."""
        self.check_size(height, width)
        like = next(self.parameters())

        def zeros(channels: int, scale: int) -> Tensor:
            return torch.zeros(batch, channels, height // scale, width // scale, device=like.device)

        r, k = self.size.shrink, self.size.memory
        features = (zeros(channels, (4 * r) << index) for index, channels in enumerate(self.size.encoder[1:]))
        seen = torch.zeros(batch, 1, 1, 1, device=like.device)
        images = (zeros(self.in_channels * self.canvas, 1), zeros(1, r))
        evidence = no_evidence(batch, height // (8 * r), width // (8 * r), like.device)
        guesses = self.size.guesses
        record = no_record(batch, height * guesses, width * guesses, like.device)
        return (*images, zeros(2, 2 * r), zeros(k, 8 * r), zeros(k, 8 * r), seen, *evidence, *record, *features)

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """See `FramePredictor.step`. The first frame is predicted to stay as it is."""
        frame = frame.float().contiguous()
        canvas, last_1, prior, hidden, cell, seen, *rest = state
        evidence: Evidence = (rest[0], rest[1], rest[2], rest[3])
        record: Record = (rest[4], rest[5], rest[6], rest[7])
        last_features = rest[8:]
        if not self.memory:
            prior, hidden, cell = torch.zeros_like(prior), torch.zeros_like(hidden), torch.zeros_like(cell)
        r = self.size.shrink
        small = frame if r == 1 else F.avg_pool2d(frame, r)
        x, features = self.encoder[0](small - 0.5), []
        for stage in self.encoder[1:]:
            x = stage(x)
            features.append(_unit(x))
        now_1 = small.mean(dim=1, keepdim=True)
        now_2, last_2 = F.avg_pool2d(now_1, 2), F.avg_pool2d(last_1, 2)
        active = activity(now_2, last_2, 8 // r) * seen.clamp(max=1)
        active_2 = up(active, 8 // r)

        prior_4 = F.avg_pool2d(prior, 2)
        prior_8 = F.avg_pool2d(prior_4, 2)
        trusted = _fits(features[1], last_features[1], prior_8 / 8, None, -_MARGIN)
        prior_4, prior_8 = prior_4 * up(trusted), prior_8 * trusted
        start_8 = prior_8
        levels = []
        if self.match_16 is not None:
            v_16 = self.match_16(features[2], last_features[2], F.avg_pool2d(prior_8, 2))
            levels.append(FlowLevel(v_16, None))
            far = up(v_16)
            better = _fits(features[1], last_features[1], far / 8, prior_8 / 8, _GAIN)
            start_8 = torch.lerp(prior_8, far, better)
        motion, hidden, cell = self.memory_8(features[1], last_features[1], start_8, prior_8, hidden, cell)
        levels.append(FlowLevel(motion[:, :2], motion[:, 2:4]))
        motion = up(motion)
        if self.refinement:
            motion, context = self.refine_4(features[0], last_features[0], now_2, last_2, motion, prior_4, hidden)
        else:
            context = motion.new_zeros(len(motion), self.size.quarter, *motion.shape[2:])
        levels.append(FlowLevel(motion[:, :2], motion[:, 2:4]))
        motion = up(motion) * active_2
        v_2, b_2, behind = motion[:, :2], motion[:, 2:4], motion[:, 4:]
        change = torch.zeros_like(v_2)
        if self.refinement:
            change = alignment_step(now_1, last_1, v_2, 5, self.log_damping.exp()) * active_2
        v_2 = v_2 + change
        error = (now_2 - warp(last_2, v_2 / 2)).abs()
        moves = motion_mask(now_2, last_2, error, 2 * r)
        change, error, arrives = sample(join([change, error, moves], torch.float32), b_2 / 2).split([2, 1, 1], dim=1)
        b_2 = b_2 + change
        levels.append(FlowLevel(v_2, b_2))
        if self.adaptation and not self.training:
            counts = _texture(now_2) * (seen - 1).clamp(min=0)
            change, evidence = expected_surprise(F.avg_pool2d(v_2, 4), F.avg_pool2d(b_2, 4), counts, 8, evidence)
            b_2 = b_2 + up(change, 4) * active_2
        v_2, b_2 = v_2 * moves, b_2 * torch.maximum(moves, arrives)

        full = up(torch.cat([v_2, b_2, behind], dim=1), 2 * r)
        observed, flow = r * full[:, :2], r * full[:, 2:4]
        moved, uncovered, others = warp(frame, flow), None, []
        if self.canvas:
            canvas = torch.lerp(frame, warp(canvas, r * full[:, 4:6]), full[:, 8:])
            uncovered = warp(canvas, r * full[:, 6:8])
            canvas = canvas if self.memory else frame
        if r > 1:
            error, active_2 = up(error, r), up(active_2, r)
            levels = [
                FlowLevel(r * level.observed, None if level.predicted is None else r * level.predicted)
                for level in levels
            ]
        mixes = self.size.guesses and self.adaptation and not self.training
        if mixes or self.size.depth:
            others = other_guesses(frame, observed, flow, active)
        drawn, weight = self.decoder(moved, uncovered, others, error, context, active_2)
        if mixes:
            drawn, record = mixed(frame, drawn, others, flow, active, (seen - 1).clamp(min=0), record)
        confidence = (1 - weight) * torch.exp(-error / _TOLERANCE)
        new_state = (canvas, now_1, b_2, hidden, cell, (seen + 1).clamp(max=2), *evidence, *record, *features)
        return Prediction(drawn, flow, None, observed, confidence, tuple(levels)), new_state


def _unit(features: Tensor) -> Tensor:
    """Features less their mean over the image, of unit length at every pixel: what sets this pixel apart."""
    features = features - features.mean(dim=(2, 3), keepdim=True)
    return features * torch.rsqrt((features * features).sum(dim=1, keepdim=True) + 1e-6).to(features.dtype)


def _fits(now: Tensor, last: Tensor, flow: Tensor, other: Tensor | None, margin: float) -> Tensor:
    """1 where features moved by ``flow``, in their pixels, are more like those of now, by at least ``margin`` of the
    cosine, than moved by the ``other`` flow or, without that, unmoved; else 0."""
    moved = F.normalize(sample(last.to(now.dtype), flow), dim=1)
    than = last if other is None else F.normalize(sample(last.to(now.dtype), other), dim=1)
    gain = (now * (moved - than)).sum(dim=1, keepdim=True)
    return (F.avg_pool2d(gain, 5, 1, 2, count_include_pad=False) > margin).float()


def _texture(image: Tensor) -> Tensor:
    """Strength of the gradient of (B, 1, H, W), (B, 1, H / 4, W / 4): the more, the more an error of flow costs."""
    x, y = image[..., 1:] - image[..., :-1], image[..., 1:, :] - image[..., :-1, :]
    squared = F.pad(x * x, (0, 1)) + F.pad(y * y, (0, 0, 0, 1))
    return F.avg_pool2d(squared, 4).sqrt()


REAL_TIME: Mapping[str, Callable[..., FramePredictor]] = {
    "stvae-rt-s": partial(
        RealTimeNetwork, Size((16, 32, 48), 32, 32, 32, 8, 16, canvas=False, guesses=False, shrink=2)
    ),
    "stvae-rt-m": partial(RealTimeNetwork, Size((16, 32, 64), 64, 64, 48, 16, 32)),
    "stvae-rt-l": partial(RealTimeNetwork, Size((16, 32, 64, 96), 64, 64, 48, 16, 32, depth=2)),
}
