"""The parts of `stvae-rt`, see `realtime`: matching, memory of motion, refinement and decoder.

All flows are in pixels of the frame, whatever the resolution of their grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stvae_ros.nn.layers.blocks import SLOPE, bias_of, convolutions, join, residual_correction, shuffle, up, zero_output
from stvae_ros.nn.layers.conv_lstm import ConvLSTMCell
from stvae_ros.nn.layers.correlation import best_match, local_correlation
from stvae_ros.nn.layers.lucas_kanade import alignment_step
from stvae_ros.nn.layers.warp import sample
from stvae_ros.nn.stvae_rt.blending import GUESSES

_RADIUS = {4: 2, 8: 4, 16: 4}
"""Of the matching at each scale, in pixels of that scale."""
_WINDOW = {scale: (2 * radius + 1) ** 2 for scale, radius in _RADIUS.items()}


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


class CoarseMatch(nn.Module):
    """Observed flow at 1/16, from matching and from what was predicted for it."""

    def __init__(self, channels: int, width: int, correlation: bool) -> None:
        super().__init__()
        self.match = Match(16, correlation)
        self.layers = convolutions(channels + _WINDOW[16] + 5, width, width)
        self.flow = zero_output(width, 3)
        with torch.no_grad():
            bias_of(self.flow)[2] = -1.0

    def forward(self, now: Tensor, last: Tensor, prior: Tensor) -> Tensor:
        """now, last: features of unit length (B, C, h, w); prior (B, 2, h, w). Returns the flow, (B, 2, h, w)."""
        last = sample(last.to(now.dtype), prior / 16)
        window, step, certainty = self.match(now, last)
        out = self.flow(self.layers(join([now, window, prior / 16, step, certainty], now.dtype))).float()
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
        self.layers = convolutions(size.memory, size.coarse)
        self.flow = zero_output(size.coarse, outputs)
        self.correction = residual_correction(size.coarse, size.coarse, outputs, size.depth) if size.depth else None
        with torch.no_grad():
            bias_of(self.flow)[4] = -1.0
            bias_of(self.flow)[5:6] = -2.0

    def forward(
        self, now: Tensor, last: Tensor, observed: Tensor, prior: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns V, B and, with a canvas, the same two of what lies behind, and how much of the canvas to keep.

        That is (B, 4 or 9, h, w); then come the new hidden and cell.
        """
        channels = now.shape[1]
        moved = sample(join([last, hidden, cell], torch.float32), observed / 8)
        last, hidden, cell = moved.split([channels, hidden.shape[1], cell.shape[1]], dim=1)
        window, step, certainty = self.match(now, last.to(now.dtype))
        matched = F.leaky_relu(self.squeeze(window), SLOPE)
        inputs = [now, matched, observed / 16, prior / 16, step, certainty]
        hidden, cell = self.cell(join(inputs, now.dtype), hidden, cell)
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
        self.observe = convolutions(channels + _WINDOW[4] + 2 + 16, width)
        self.observed = zero_output(width, 2)
        self.log_damping = nn.Parameter(torch.tensor(-8.0))
        self.narrow = nn.Conv2d(width, 16, 1)
        self.predict = convolutions(channels + 16 + 6, width, width)
        self.predicted = zero_output(width, outputs)
        self.correction = residual_correction(width, width, outputs, size.depth) if size.depth else None

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
        context = self.observe(join([now, window, observed / 8, up(self.memory(hidden))], dtype))
        change = 4 * self.observed(context).float().contiguous()
        change = change + 2 * alignment_step(image, last_image, (observed + change) / 2, 3, self.log_damping.exp())
        observed = observed + change
        ahead = sample(join([now, self.narrow(context), change, observed - prior], torch.float32), predicted / 4)
        context = self.predict(join([ahead, predicted / 8], dtype))
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
        self.layers = convolutions(drawn * (2 if canvas else 1) + 1 + size.context, size.decoder)
        self.output = zero_output(size.decoder, outputs)
        self.correction = None
        if size.depth:
            seen = size.decoder + drawn * GUESSES
            self.correction = residual_correction(seen, size.decoder, outputs + 4 * GUESSES, size.depth)
        if canvas:
            with torch.no_grad():
                bias_of(self.output)[drawn:] = -2.0

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
        x = self.layers(join(inputs, dtype))
        out = self.output(x)
        shares = None
        if self.correction is not None:
            seen = [F.pixel_unshuffle((other - moved).to(dtype), 2) for other in others]
            correction = self.correction(join([x, *seen], dtype))
            out, shares = out + correction[:, : out.shape[1]], correction[:, out.shape[1] :]
        out = out.float()
        drawn, weight = moved, torch.zeros_like(error)
        if uncovered is not None:
            weight = torch.sigmoid(out[:, self.drawn :])
            drawn = torch.lerp(moved, uncovered, shuffle(weight))
            weight = weight.mean(dim=1, keepdim=True)
        drawn = drawn + shuffle(out[:, : self.drawn] * active)
        if shares is not None:
            for share, other in zip(shuffle(shares.float()).split(1, dim=1), others, strict=True):
                drawn = drawn + share * (other - moved)
        return drawn, weight


def _scores(now: Tensor, last: Tensor, scale: int, correlation: bool) -> Tensor:
    """How alike the features nearby are, (B, K * K, h, w); zeros without ``correlation``."""
    if correlation:
        return local_correlation(now, last, _RADIUS[scale])
    return now.new_zeros(len(now), _WINDOW[scale], *now.shape[2:])
