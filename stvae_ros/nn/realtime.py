"""stvae-rt: our own network, for real time on a robot's CPU.

It has the parts of the video autoencoder (arXiv 1511.06309): encoder, ConvLSTM memory, flow, sampler and decoder.
Matching the features of two frames, from coarse to fine, gives the *observed* flow V, ``current(p) = last(p +
V(p))``; memory makes of it the *predicted* flow B, ``next(p) = current(p + B(p))``. The sampler moves two images: the
frame by B, and by a flow of its own the *canvas*, an image kept from frame to frame of what lies behind moving
things. A decoder blends the two and corrects the result. All flows are in pixels of the frame, whatever the
resolution of their grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stvae_ros.nn.alignment import alignment_step
from stvae_ros.nn.conv_lstm import ConvLSTMCell
from stvae_ros.nn.correlation import global_match, local_correlation
from stvae_ros.nn.interface import FlowLevel, FramePredictor, Prediction, State
from stvae_ros.nn.sampling import sample, warp

_RADIUS = {4: 2, 8: 4, 16: 4}
"""Of the local matching at each scale, in pixels of that scale."""
_SLOPE = 0.1


class Widths(NamedTuple):
    """Channels of the encoder at 1/2, 1/4, 1/8 and 1/16, of the memory, of layers at each scale and in the decoder."""

    encoder: tuple[int, int, int, int]
    memory: int
    coarse: int
    quarter: int
    half: int
    decoder: int


class RealTimeNetwork(FramePredictor):
    """See the module; each part has a class of its own below. Options that are off serve the ablation.

    widths: channels. memory: False empties hidden state, canvas and last prediction at every frame, so that two frames
    alone count. correlation: False takes the matching of features away. refinement: False ends the flow at 1/8 of the
    resolution. blend: False leaves the canvas out.
    """

    size_multiple = 16
    in_channels = 3
    draws_detail = True

    def __init__(
        self,
        widths: Widths,
        memory: bool = True,
        correlation: bool = True,
        refinement: bool = True,
        blend: bool = True,
    ) -> None:
        super().__init__()
        self.widths, self.memory = widths, memory
        c2, c4, c8, c16 = widths.encoder
        stages = pairwise((3, *widths.encoder))
        self.encoder = nn.ModuleList(_layers(i, o, *([o] if i > 3 else []), stride=2) for i, o in stages)
        self.match_16 = CoarseMatch(c16, widths.coarse, correlation)
        self.memory_8 = MotionMemory(c8, widths.memory, widths.coarse, correlation)
        self.refine_4 = QuarterRefinement(c4, widths.memory, widths.quarter, correlation, refinement)
        self.refine_2 = HalfRefinement(c2, widths.quarter, widths.half, refinement)
        self.decoder = BlendDecoder(widths.half, widths.decoder, blend)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Last frame, canvas, predicted flow, features at three scales, hidden and cell, whether there was a frame."""
        self.check_size(height, width)
        like = next(self.parameters())

        def zeros(channels: int, scale: int) -> Tensor:
            return torch.zeros(batch, channels, height // scale, width // scale, device=like.device)

        features = (zeros(channels, 4 << index) for index, channels in enumerate(self.widths.encoder[1:]))
        k = self.widths.memory
        return (zeros(3, 1), zeros(3, 1), zeros(2, 2), *features, zeros(k, 8), zeros(k, 8), zeros(1, 1)[..., :1, :1])

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """See `FramePredictor.step`. The first frame is predicted to stay as it is."""
        frame = frame.float().contiguous()
        last, canvas, prior, last_4, last_8, last_16, hidden, cell, begun = state
        if not self.memory:
            canvas, prior = last, torch.zeros_like(prior)
            hidden, cell = torch.zeros_like(hidden), torch.zeros_like(cell)
        f_2 = self.encoder[0](frame - 0.5)
        f_4 = self.encoder[1](f_2)
        f_8 = self.encoder[2](f_4)
        f_16 = self.encoder[3](f_8)
        features = (_unit(f_4), _unit(f_8), _unit(f_16))
        now_1, last_1 = (image.mean(dim=1, keepdim=True) for image in (frame, last))
        now_2, last_2 = F.avg_pool2d(now_1, 2), F.avg_pool2d(last_1, 2)
        active_16 = _activity(now_2, last_2) * begun
        active_4, active_2 = _up(active_16, 4), _up(active_16, 8)

        prior_16 = F.avg_pool2d(prior, 8)
        v_16 = self.match_16(features[2], last_16, prior_16)
        motion, hidden, cell = self.memory_8(features[1], last_8, v_16, prior_16, hidden, cell)
        levels = [FlowLevel(v_16, None), FlowLevel(motion[:, :2], motion[:, 2:4])]
        v_4, b_4, behind, keep, context = self.refine_4(features[0], last_4, now_2, last_2, motion, hidden)
        levels.append(FlowLevel(v_4, b_4))
        v_2, b_2, error, context = self.refine_2(f_2, now_1, last_1, v_4, b_4, prior, context)
        v_2, b_2 = v_2 * active_2, b_2 * active_2
        levels.append(FlowLevel(v_2, b_2))

        observed, flow = _up(torch.cat([v_2, b_2], dim=1)).chunk(2, dim=1)
        behind = _up(torch.cat([behind, keep], dim=1) * active_4, 4)
        canvas = frame + behind[:, 4:] * (warp(canvas, behind[:, :2]) - frame)
        moved, uncovered = warp(frame, flow), warp(canvas, behind[:, 2:4])
        drawn, weight = self.decoder(moved, uncovered, error, context, active_2)
        confidence = (1 - weight) * torch.exp(-error / _TOLERANCE)
        new_state = (frame, canvas, b_2, *features, hidden, cell, torch.ones_like(begun))
        return Prediction(drawn, flow, None, observed, confidence, tuple(levels)), new_state


_TOLERANCE = 0.05
"""Photometric error at which confidence falls to 1/e."""


class CoarseMatch(nn.Module):
    """Observed flow at 1/16, from matching over the whole image, matching nearby, and what was predicted for it."""

    def __init__(self, channels: int, width: int, correlation: bool) -> None:
        super().__init__()
        self.correlation = correlation
        self.window = (2 * _RADIUS[16] + 1) ** 2
        self.log_sharpness = nn.Parameter(torch.tensor(3.0))
        self.layers = _layers(channels + self.window + 5, width, width)
        self.flow = _output(width, 3)
        with torch.no_grad():
            _bias(self.flow)[2] = -2.0

    def forward(self, now: Tensor, last: Tensor, prior: Tensor) -> Tensor:
        """now, last: features of unit length (B, C, h, w); prior (B, 2, h, w). Returns the flow, (B, 2, h, w)."""
        if self.correlation:
            last = last.to(now.dtype)
            jump, certainty = global_match(now, last, self.log_sharpness.exp())
            window = local_correlation(now, last, _RADIUS[16])
        else:
            jump, certainty = torch.zeros_like(prior), torch.zeros_like(prior[:, :1])
            window = now.new_zeros(len(now), self.window, *now.shape[2:])
        out = self.flow(self.layers(_join([now, prior / 16, window, jump * certainty, certainty], now.dtype))).float()
        return prior + certainty * torch.sigmoid(out[:, 2:]) * (16 * jump - prior) + 16 * out[:, :2]


class MotionMemory(nn.Module):
    """ConvLSTM at 1/8, moved along with the image, from which all flows follow."""

    def __init__(self, channels: int, memory: int, width: int, correlation: bool) -> None:
        super().__init__()
        self.correlation = correlation
        self.window = (2 * _RADIUS[8] + 1) ** 2
        self.squeeze = nn.Conv2d(self.window, 32, 1)
        self.cell = ConvLSTMCell(channels + 32 + 4, memory, kernel_size=3)
        self.layers = _layers(memory, width)
        self.flow = _output(width, 8)

    def forward(
        self, now: Tensor, last: Tensor, observed: Tensor, prior: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns (B, 8, h, w): V, B, and the same two flows of what lies behind; the new hidden and cell."""
        observed = _up(observed)
        channels = now.shape[1]
        moved = sample(_join([last, hidden, cell], torch.float32), observed / 8)
        last, hidden, cell = moved.split([channels, hidden.shape[1], cell.shape[1]], dim=1)
        if self.correlation:
            matched = local_correlation(now, last.to(now.dtype), _RADIUS[8])
        else:
            matched = now.new_zeros(len(now), self.window, *now.shape[2:])
        matched = F.leaky_relu(self.squeeze(matched), _SLOPE)
        hidden, cell = self.cell(_join([now, matched, observed / 16, _up(prior) / 16], now.dtype), hidden, cell)
        change = 8 * self.flow(self.layers(hidden)).float().contiguous()
        observed = observed + change[:, :2]
        # What moves goes on moving: the flow of the next frame is this one's, itself moved.
        predicted = warp(observed, observed / 8) + change[:, 2:4]
        motion = torch.cat([observed, predicted, observed + change[:, 4:6], predicted + change[:, 6:]], dim=1)
        return motion, hidden, cell


class QuarterRefinement(nn.Module):
    """Flows at 1/4: observed, from matching nearby; predicted, from features moved to where they will be."""

    def __init__(self, channels: int, memory: int, width: int, correlation: bool, refinement: bool) -> None:
        super().__init__()
        self.correlation, self.weight = correlation, float(refinement)
        self.window = (2 * _RADIUS[4] + 1) ** 2
        self.context = nn.Conv2d(memory, 32, 1)
        self.observe = _layers(2 * channels + self.window + 2 + 32, width, width)
        self.observed = _output(width, 3)
        self.log_damping = nn.Parameter(torch.tensor(-8.0))
        self.narrow = nn.Conv2d(width, 16, 1)
        self.predict = _layers(channels + 16 + 4, width, width)
        self.predicted = _output(width, 4)
        with torch.no_grad():
            _bias(self.observed)[2] = -2.0

    def forward(
        self, now: Tensor, last: Tensor, image: Tensor, last_image: Tensor, motion: Tensor, hidden: Tensor
    ) -> tuple[Tensor, ...]:
        """now, last: features. image, last_image: grey, at 1/2. motion, hidden: of `MotionMemory`.

        Returns V and B (B, 2, h, w), both flows behind (B, 4, h, w), how much canvas is kept, and features.
        """
        dtype = now.dtype
        observed, predicted, behind = _up(motion).split([2, 2, 4], dim=1)
        last = sample(last.to(dtype), observed / 4)
        if self.correlation:
            matched = local_correlation(now, last, _RADIUS[4])
        else:
            matched = now.new_zeros(len(now), self.window, *now.shape[2:])
        context = self.observe(_join([now, last, matched, observed / 8, _up(self.context(hidden))], dtype))
        change = 4 * self.observed(context).float().contiguous()
        keep, change = torch.sigmoid(change[:, 2:] / 4), change[:, :2]
        step = alignment_step(image, last_image, (observed + change) / 2, 3, self.log_damping.exp())
        change = (change + 2 * step) * self.weight
        ahead = sample(_join([now, self.narrow(context), change], dtype), predicted / 4)
        ahead_context = self.predict(_join([ahead, predicted / 8], dtype))
        correction = 4 * self.predicted(ahead_context).float().contiguous()
        predicted = predicted + (ahead[:, -2:].float() + correction[:, :2]) * self.weight
        behind = behind + F.pad(correction[:, 2:], (0, 0, 0, 0, 2, 0))
        return observed + change, predicted, behind, keep, ahead_context


class HalfRefinement(nn.Module):
    """Flows at 1/2: observed, aligned to a fraction of a pixel; predicted, from that and what was predicted before."""

    def __init__(self, channels: int, quarter: int, width: int, refinement: bool) -> None:
        super().__init__()
        self.weight = float(refinement)
        self.log_damping = nn.Parameter(torch.tensor(-8.0))
        self.context = nn.Conv2d(quarter, 4 * width, 1)
        self.layers = _layers(channels + 5 + width + 2, width, width)
        self.flow = _output(width, 2)

    def forward(
        self,
        now: Tensor,
        image: Tensor,
        last_image: Tensor,
        observed: Tensor,
        predicted: Tensor,
        prior: Tensor,
        context: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """now: features. image, last_image: grey, at full resolution. prior: what was predicted for ``observed``.

        Returns V, B, the photometric error of V moved by B, and what the decoder needs to know.
        """
        observed, predicted = _up(torch.cat([observed, predicted], dim=1)).chunk(2, dim=1)
        change = alignment_step(image, last_image, observed, 5, self.log_damping.exp()) * self.weight
        observed = observed + change
        error = F.avg_pool2d((image - warp(last_image, _up(observed))).abs(), 2)
        ahead = sample(_join([now, change, observed - prior, error * 4], torch.float32), predicted / 2)
        context = F.pixel_shuffle(self.context(context), 2)
        x = self.layers(_join([ahead, context, predicted / 4], now.dtype))
        start = now.shape[1]
        correction = ahead[:, start : start + 2] + 2 * self.flow(x).float().contiguous()
        return observed, predicted + correction * self.weight, ahead[:, -1:] / 4, x


class BlendDecoder(nn.Module):
    """Blends the moved frame with what lies behind it, and corrects the result, at full resolution."""

    def __init__(self, context: int, width: int, blend: bool) -> None:
        super().__init__()
        self.blend = blend
        self.layers = _layers((24 if blend else 12) + 1 + context, width, width)
        self.output = _output(width, 16 if blend else 12)
        if blend:
            with torch.no_grad():
                _bias(self.output)[12:] = -2.0

    def forward(
        self, moved: Tensor, uncovered: Tensor, error: Tensor, context: Tensor, active: Tensor
    ) -> tuple[Tensor, Tensor]:
        """moved, uncovered (B, 3, H, W); the rest at half of it. Returns the frame and the weight of ``uncovered``."""
        dtype = context.dtype
        dtype = context.dtype
        inputs = [F.pixel_unshuffle((moved - 0.5).to(dtype), 2)]
        if self.blend:
            inputs.append(F.pixel_unshuffle((uncovered - moved).to(dtype), 2))
        out = self.output(self.layers(_join([*inputs, error * 4, context], dtype))).contiguous().float()
        change = F.pixel_shuffle(out[:, :12] * active, 2)
        if not self.blend:
            return moved + change, torch.zeros_like(error)
        weight = torch.sigmoid(out[:, 12:])
        drawn = torch.lerp(moved, uncovered, F.pixel_shuffle(weight, 2))
        return drawn + change, weight.mean(dim=1, keepdim=True)


def _layers(*channels: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolutions, the first with ``stride``, each followed by a leaky ReLU."""
    layers: list[nn.Module] = []
    for i, o in pairwise(channels):
        convolution = nn.Conv2d(i, o, 3, 1 if layers else stride, 1)
        # PyTorch's own start halves the signal in every layer, which without normalisation leaves little of it.
        nn.init.kaiming_normal_(convolution.weight, a=_SLOPE)
        nn.init.zeros_(_bias(convolution))
        layers += [convolution, nn.LeakyReLU(_SLOPE, inplace=True)]
    return nn.Sequential(*layers)


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


def _output(i: int, o: int) -> nn.Conv2d:
    """A 3x3 convolution that starts at zero: every flow and the decoder begin with copying the last frame."""
    convolution = nn.Conv2d(i, o, 3, 1, 1)
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(_bias(convolution))
    return convolution


def _join(parts: list[Tensor], dtype: torch.dtype) -> Tensor:
    """Concatenate channels, in the channels-last order that convolutions like best."""
    return torch.cat([part.to(dtype).permute(0, 2, 3, 1) for part in parts], dim=3).permute(0, 3, 1, 2)


def _up(x: Tensor, factor: int = 2) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _unit(features: Tensor) -> Tensor:
    """Features less their mean over the image, of unit length at every pixel: what sets this pixel apart."""
    features = features - features.mean(dim=(2, 3), keepdim=True)
    return features * torch.rsqrt((features * features).sum(dim=1, keepdim=True) + 1e-6).to(features.dtype)


def _activity(now: Tensor, last: Tensor) -> Tensor:
    """Whether anything changes around here, (B, 1, h / 8, w / 8) in [0, 1]: exactly 0 where all is as it was."""
    change = F.avg_pool2d((now - last).abs(), 8)
    return (F.max_pool2d(change, 5, 1, 2) * 1000).clamp(max=1)


REAL_TIME: Mapping[str, Callable[..., FramePredictor]] = {
    "stvae-rt-s": partial(RealTimeNetwork, Widths((8, 16, 32, 48), 32, 32, 16, 8, 16)),
    "stvae-rt-m": partial(RealTimeNetwork, Widths((16, 32, 64, 96), 64, 64, 48, 16, 32)),
    "stvae-rt-l": partial(RealTimeNetwork, Widths((32, 64, 128, 160), 128, 128, 96, 32, 64)),
}
