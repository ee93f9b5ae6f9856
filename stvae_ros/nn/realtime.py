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
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stvae_ros.nn.adaptation import Evidence, expected_surprise, no_evidence
from stvae_ros.nn.alignment import alignment_step
from stvae_ros.nn.conv_lstm import ConvLSTMCell
from stvae_ros.nn.correlation import best_match, local_correlation
from stvae_ros.nn.interface import FlowLevel, FramePredictor, Prediction, State
from stvae_ros.nn.mixture import GUESSES, Record, mixed, no_record, other_guesses
from stvae_ros.nn.sampling import sample, warp
from stvae_ros.nn.stillness import activity, motion_mask

_RADIUS = {4: 2, 8: 4, 16: 4}
"""Of the matching at each scale, in pixels of that scale."""
_WINDOW = {scale: (2 * radius + 1) ** 2 for scale, radius in _RADIUS.items()}
_SLOPE = 0.1
_MARGIN = 0.1
"""Of the cosine between features, by which a predicted flow may be worse than none before it is forgotten."""
_GAIN = 0.02
"""Of the cosine between features, by which flow found at 1/16 must be better than the one predicted."""
_TOLERANCE = 0.05
"""Photometric error at which confidence falls to 1/e."""


@dataclass(frozen=True)
class Size:
    """Channels of the parts of a network.

    encoder: of its maps at 1/2, 1/4, 1/8 and, unless there are only three, 1/16. memory: of the ConvLSTM. coarse,
    quarter: of layers at 1/8 and 1/16, and at 1/4. context: what the decoder is told of motion. decoder: its own.
    canvas: whether there is one. guesses: whether other guesses at the next frame go into it. shrink: by how much the
    frame is scaled down to find motion; all scales but those of sampler and decoder are then of the smaller frame.
    depth: residual blocks by which flow and decoder are corrected once more; 0 for no such correction.
    """

    encoder: tuple[int, ...]
    memory: int
    coarse: int
    quarter: int
    context: int
    decoder: int
    canvas: bool = True
    guesses: bool = True
    shrink: int = 1
    depth: int = 0


class RealTimeNetwork(FramePredictor):
    """See the module; each part has a class of its own below. Options that are off serve the ablation.

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
        self.encoder = nn.ModuleList(_layers(i, o, *([o] if i > 3 else []), stride=2) for i, o in stages)
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
        record = no_record(batch, height, width, like.device)
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
        active_2 = _up(active, 8 // r)

        prior_4 = F.avg_pool2d(prior, 2)
        prior_8 = F.avg_pool2d(prior_4, 2)
        trusted = _fits(features[1], last_features[1], prior_8 / 8, None, -_MARGIN)
        prior_4, prior_8 = prior_4 * _up(trusted), prior_8 * trusted
        start_8 = prior_8
        levels = []
        if self.match_16 is not None:
            v_16 = self.match_16(features[2], last_features[2], F.avg_pool2d(prior_8, 2))
            levels.append(FlowLevel(v_16, None))
            far = _up(v_16)
            better = _fits(features[1], last_features[1], far / 8, prior_8 / 8, _GAIN)
            start_8 = torch.lerp(prior_8, far, better)
        motion, hidden, cell = self.memory_8(features[1], last_features[1], start_8, prior_8, hidden, cell)
        levels.append(FlowLevel(motion[:, :2], motion[:, 2:4]))
        motion = _up(motion)
        if self.refinement:
            motion, context = self.refine_4(features[0], last_features[0], now_2, last_2, motion, prior_4, hidden)
        else:
            context = motion.new_zeros(len(motion), self.size.quarter, *motion.shape[2:])
        levels.append(FlowLevel(motion[:, :2], motion[:, 2:4]))
        motion = _up(motion) * active_2
        v_2, b_2, behind = motion[:, :2], motion[:, 2:4], motion[:, 4:]
        change = torch.zeros_like(v_2)
        if self.refinement:
            change = alignment_step(now_1, last_1, v_2, 5, self.log_damping.exp()) * active_2
        v_2 = v_2 + change
        error = (now_2 - warp(last_2, v_2 / 2)).abs()
        moves = motion_mask(now_2, last_2, error, 2 * r)
        change, error, arrives = sample(_join([change, error, moves], torch.float32), b_2 / 2).split([2, 1, 1], dim=1)
        b_2 = b_2 + change
        levels.append(FlowLevel(v_2, b_2))
        if self.adaptation and not self.training:
            counts = _texture(now_2) * (seen - 1).clamp(min=0)
            change, evidence = expected_surprise(F.avg_pool2d(v_2, 4), F.avg_pool2d(b_2, 4), counts, 8, evidence)
            b_2 = b_2 + _up(change, 4) * active_2
        v_2, b_2 = v_2 * moves, b_2 * torch.maximum(moves, arrives)

        full = _up(torch.cat([v_2, b_2, behind], dim=1), 2 * r)
        observed, flow = r * full[:, :2], r * full[:, 2:4]
        moved, uncovered, others = warp(frame, flow), None, []
        if self.canvas:
            canvas = torch.lerp(frame, warp(canvas, r * full[:, 4:6]), full[:, 8:])
            uncovered = warp(canvas, r * full[:, 6:8])
            canvas = canvas if self.memory else frame
        if r > 1:
            error, active_2 = _up(error, r), _up(active_2, r)
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


class CoarseMatch(nn.Module):
    """Observed flow at 1/16, from matching and from what was predicted for it."""

    def __init__(self, channels: int, width: int, correlation: bool) -> None:
        super().__init__()
        self.match = Match(16, correlation)
        self.layers = _layers(channels + _WINDOW[16] + 5, width, width)
        self.flow = _output(width, 3)
        with torch.no_grad():
            _bias(self.flow)[2] = -1.0

    def forward(self, now: Tensor, last: Tensor, prior: Tensor) -> Tensor:
        """now, last: features of unit length (B, C, h, w); prior (B, 2, h, w). Returns the flow, (B, 2, h, w)."""
        last = sample(last.to(now.dtype), prior / 16)
        window, step, certainty = self.match(now, last)
        out = self.flow(self.layers(_join([now, window, prior / 16, step, certainty], now.dtype))).float()
        return prior + 16 * (torch.sigmoid(out[:, 2:]) * step + out[:, :2])


class Match(nn.Module):
    """Where features nearby are most alike; zeros without ``correlation``."""

    def __init__(self, scale: int, correlation: bool) -> None:
        super().__init__()
        self.scale, self.correlation = scale, correlation
        self.log_sharpness = nn.Parameter(torch.tensor(3.0))

    def forward(self, now: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, K * K, h, w), step (B, 2, h, w) in pixels of this scale times its certainty (B, 1, h, w)."""
        window = _scores(now, last, self.scale, self.correlation)
        if not self.correlation:
            return window, window[:, :2].float(), window[:, :1].float()
        step, certainty = best_match(window, self.log_sharpness.exp())
        return window, step * certainty, certainty


class MotionMemory(nn.Module):
    """ConvLSTM at 1/8, moved along with the image, from which all flows follow."""

    def __init__(self, size: Size, correlation: bool, canvas: bool) -> None:
        super().__init__()
        outputs = 10 if canvas else 5
        self.match = Match(8, correlation)
        self.squeeze = nn.Conv2d(_WINDOW[8], 32, 1)
        self.cell = ConvLSTMCell(size.encoder[2] + 32 + 7, size.memory, kernel_size=3)
        self.layers = _layers(size.memory, size.coarse)
        self.flow = _output(size.coarse, outputs)
        self.correction = _correction(size.coarse, size.coarse, outputs, size.depth) if size.depth else None
        with torch.no_grad():
            _bias(self.flow)[4] = -1.0
            _bias(self.flow)[5:6] = -2.0

    def forward(
        self, now: Tensor, last: Tensor, observed: Tensor, prior: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns V, B and, with a canvas, the same two of what lies behind, and how much of the canvas to keep.

        That is (B, 4 or 9, h, w); then come the new hidden and cell.
        """
        channels = now.shape[1]
        moved = sample(_join([last, hidden, cell], torch.float32), observed / 8)
        last, hidden, cell = moved.split([channels, hidden.shape[1], cell.shape[1]], dim=1)
        window, step, certainty = self.match(now, last.to(now.dtype))
        matched = F.leaky_relu(self.squeeze(window), _SLOPE)
        inputs = [now, matched, observed / 16, prior / 16, step, certainty]
        hidden, cell = self.cell(_join(inputs, now.dtype), hidden, cell)
        context = self.layers(hidden)
        change = self.flow(context)
        if self.correction is not None:
            change = change + self.correction(context)
        change = change.float().contiguous()
        observed = observed + 8 * (torch.sigmoid(change[:, 4:5]) * step + change[:, :2])
        # What moves goes on moving: the flow of the next frame is this one's, itself moved.
        predicted = sample(observed, observed / 8) + 8 * change[:, 2:4]
        motion = [observed, predicted]
        if change.shape[1] > 5:
            motion += [observed + 8 * change[:, 6:8], predicted + 8 * change[:, 8:], torch.sigmoid(change[:, 5:6])]
        return torch.cat(motion, dim=1), hidden, cell


class Refinement(nn.Module):
    """Flows at 1/4: observed, by matching and alignment; predicted, from features moved to where they will be."""

    def __init__(self, size: Size, correlation: bool, canvas: bool) -> None:
        super().__init__()
        channels, width, outputs = size.encoder[1], size.quarter, 5 if canvas else 2
        self.correlation = correlation
        self.memory = nn.Conv2d(size.memory, 16, 1)
        self.observe = _layers(channels + _WINDOW[4] + 2 + 16, width)
        self.observed = _output(width, 2)
        self.log_damping = nn.Parameter(torch.tensor(-8.0))
        self.narrow = nn.Conv2d(width, 16, 1)
        self.predict = _layers(channels + 16 + 6, width, width)
        self.predicted = _output(width, outputs)
        self.correction = _correction(width, width, outputs, size.depth) if size.depth else None

    def forward(
        self,
        now: Tensor,
        last: Tensor,
        image: Tensor,
        last_image: Tensor,
        motion: Tensor,
        prior: Tensor,
        hidden: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """now, last: features. image, last_image: grey, at 1/2. motion: of `MotionMemory`, at 1/4. prior: flow.

        Returns the motion, refined, and features of the frame to come.
        """
        dtype = now.dtype
        observed, predicted = motion[:, :2], motion[:, 2:4]
        last = sample(last.to(dtype), observed / 4)
        window = _scores(now, last, 4, self.correlation)
        context = self.observe(_join([now, window, observed / 8, _up(self.memory(hidden))], dtype))
        change = 4 * self.observed(context).float().contiguous()
        change = change + 2 * alignment_step(image, last_image, (observed + change) / 2, 3, self.log_damping.exp())
        observed = observed + change
        ahead = sample(_join([now, self.narrow(context), change, observed - prior], torch.float32), predicted / 4)
        context = self.predict(_join([ahead, predicted / 8], dtype))
        correction = self.predicted(context)
        if self.correction is not None:
            correction = correction + self.correction(context)
        correction = 4 * correction.float().contiguous()
        start = now.shape[1] + 16
        predicted = predicted + ahead[:, start : start + 2] + correction[:, :2]
        refined = [observed, predicted]
        if motion.shape[1] > 4:
            keep = torch.sigmoid(torch.logit(motion[:, 8:], 1e-4) + correction[:, 4:] / 4)
            refined += [motion[:, 4:6] + change, motion[:, 6:8] + correction[:, 2:4], keep]
        return torch.cat(refined, dim=1), context


class Decoder(nn.Module):
    """Blends the moved frame with what lies behind it, and corrects the result, at full resolution.

    If there is depth, it looks once more, and blends in the other guesses.
    """

    def __init__(self, size: Size, canvas: bool, in_channels: int) -> None:
        super().__init__()
        self.factor = 2 * size.shrink
        self.drawn = drawn = 4 * in_channels
        """Channels of a frame at 1/2, its pixels side by side."""
        outputs = drawn + 4 * canvas
        self.context = nn.Conv2d(size.quarter, self.factor**2 * size.context, 1)
        self.layers = _layers(drawn * (2 if canvas else 1) + 1 + size.context, size.decoder)
        self.output = _output(size.decoder, outputs)
        self.correction = None
        if size.depth:
            seen = size.decoder + drawn * GUESSES
            self.correction = _correction(seen, size.decoder, outputs + 4 * GUESSES, size.depth)
        if canvas:
            with torch.no_grad():
                _bias(self.output)[drawn:] = -2.0

    def forward(
        self,
        moved: Tensor,
        uncovered: Tensor | None,
        others: list[Tensor],
        error: Tensor,
        context: Tensor,
        active: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """moved, uncovered and others (B, C, H, W); error and active at 1/2 of that, context at 1/4 of the frame scaled
        down. Returns the frame and the weight of ``uncovered`` at 1/2.
        """
        context = F.pixel_shuffle(self.context(context), self.factor)
        dtype = context.dtype
        inputs = [F.pixel_unshuffle((moved - 0.5).to(dtype), 2), error * 4, context]
        if uncovered is not None:
            inputs.append(F.pixel_unshuffle((uncovered - moved).to(dtype), 2))
        x = self.layers(_join(inputs, dtype))
        out = self.output(x)
        shares = None
        if self.correction is not None:
            seen = [F.pixel_unshuffle((other - moved).to(dtype), 2) for other in others]
            correction = self.correction(_join([x, *seen], dtype))
            out, shares = out + correction[:, : out.shape[1]], correction[:, out.shape[1] :]
        out = out.float()
        drawn, weight = moved, torch.zeros_like(error)
        if uncovered is not None:
            weight = torch.sigmoid(out[:, self.drawn :])
            drawn = torch.lerp(moved, uncovered, _shuffle(weight))
            weight = weight.mean(dim=1, keepdim=True)
        drawn = drawn + _shuffle(out[:, : self.drawn] * active)
        if shares is not None:
            for share, other in zip(_shuffle(shares.float()).split(1, dim=1), others, strict=True):
                drawn = drawn + share * (other - moved)
        return drawn, weight


def _scores(now: Tensor, last: Tensor, scale: int, correlation: bool) -> Tensor:
    """How alike the features nearby are, (B, K * K, h, w); zeros without ``correlation``."""
    if correlation:
        return local_correlation(now, last, _RADIUS[scale])
    return now.new_zeros(len(now), _WINDOW[scale], *now.shape[2:])


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


class Residual(nn.Module):
    """Two 3x3 convolutions, the second of which starts at zero, whose result is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_layers(channels, channels), _output(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the shape of x."""
        return x + self.layers(x)


def _correction(i: int, width: int, o: int, depth: int) -> nn.Sequential:
    """Starts at zero: a network that has it begins as one without."""
    return nn.Sequential(_layers(i, width), *(Residual(width) for _ in range(depth)), _output(width, o))


def _join(parts: list[Tensor], dtype: torch.dtype) -> Tensor:
    """Concatenate channels, in the channels-last order that convolutions like best."""
    return torch.cat([part.to(dtype).permute(0, 2, 3, 1) for part in parts], dim=3).permute(0, 3, 1, 2)


def _shuffle(x: Tensor) -> Tensor:
    """`pixel_shuffle` by 2, in a third of its time on a CPU where channels come last in memory."""
    batch, channels, height, width = x.shape
    apart = x.permute(0, 2, 3, 1).reshape(batch, height, width, channels // 4, 2, 2)
    return apart.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // 4, 2 * height, 2 * width)


def _up(x: Tensor, factor: int = 2) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


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
