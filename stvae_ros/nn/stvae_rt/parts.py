"""Parts of `stvae-rt`: matching, motion memory, refinement and decoder.

All flows are in pixels of the frame, whatever the resolution of their grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stvae_ros.nn.layers.blocks import (
    SLOPE,
    as_float,
    bias_of,
    convolutions,
    join,
    residual_correction,
    shuffle,
    unshuffle,
    up,
    zero_output,
)
from stvae_ros.nn.layers.conv_lstm import ConvLSTMCell
from stvae_ros.nn.layers.correlation import best_match, local_correlation
from stvae_ros.nn.layers.lucas_kanade import alignment_step
from stvae_ros.nn.layers.warp import sample, warp
from stvae_ros.nn.stvae_rt.blending import ALTERNATIVES

_RADIUS = {4: 2, 8: 4, 16: 4}
"""Search radius of the matching at each scale, in pixels of that scale."""
_WINDOW = {scale: (2 * radius + 1) ** 2 for scale, radius in _RADIUS.items()}
"""Number of displacements that are matched at each scale."""


@dataclass(frozen=True)
class ChannelPlan:
    """Channel counts and structure of a network.

    Attributes:
        encoder: Channels of the feature maps at 1/2, 1/4, 1/8 and, if there are four, 1/16.
        memory: Channels of the ConvLSTM.
        coarse: Channels of the layers at 1/8 and 1/16.
        quarter: Channels of the layers at 1/4.
        context: Channels that the refinement passes to the decoder.
        decoder: Channels of the decoder.
        canvas: Keep a canvas of the background.
        alternatives: Blend alternative predictions into the output.
        shrink: The frame is scaled down by 1 or 2 to estimate motion. The scales above are of that frame.
        depth: Residual blocks that correct the flows and the output a second time. 0 for no such correction.
    """

    encoder: tuple[int, ...]
    memory: int
    coarse: int
    quarter: int
    context: int
    decoder: int
    canvas: bool = True
    alternatives: bool = True
    shrink: int = 1
    depth: int = 0


class CoarseMatch(nn.Module):
    """Observed flow at 1/16, from matching and from the predicted flow."""

    def __init__(self, channels: int, width: int, correlation: bool) -> None:
        super().__init__()
        self.match = Match(16, correlation)
        self.layers = convolutions(channels + _WINDOW[16] + 5, width, width)
        self.flow = zero_output(width, 3)
        with torch.no_grad():
            bias_of(self.flow)[2] = -1.0

    def forward(self, now: Tensor, last: Tensor, prior: Tensor) -> Tensor:
        """Observed flow (B, 2, h, w).

        Args:
            now: Features of this frame, of unit length (B, C, h, w).
            last: Features of the last frame.
            prior: Flow predicted for this frame (B, 2, h, w).
        """
        last = sample(last.to(now.dtype), prior / 16)
        window, step, certainty = self.match(now, last)
        out = self.flow(self.layers(join([now, window, prior / 16, step, certainty], now.dtype))).float()
        return prior + 16 * (torch.sigmoid(out[:, 2:]) * step + out[:, :2])


class Match(nn.Module):
    """Displacement to the most similar features nearby; zeros without ``correlation``."""

    def __init__(self, scale: int, correlation: bool) -> None:
        super().__init__()
        self.scale, self.correlation = scale, correlation
        self.log_sharpness = nn.Parameter(torch.tensor(3.0))

    def forward(self, now: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Match the features of two frames, (B, C, h, w) each.

        Returns:
            Scores (B, K * K, h, w); displacement in pixels of this scale times its certainty (B, 2, h, w); certainty
            (B, 1, h, w).
        """
        window = _scores(now, last, self.scale, self.correlation)
        if not self.correlation:
            return window, window[:, :2].float(), window[:, :1].float()
        step, certainty = best_match(window, self.log_sharpness.exp())
        return window, step * certainty, certainty


class MotionMemory(nn.Module):
    """ConvLSTM at 1/8, and the flows that it estimates."""

    def __init__(self, plan: ChannelPlan, correlation: bool, canvas: bool) -> None:
        super().__init__()
        outputs = 10 if canvas else 5
        self.match = Match(8, correlation)
        self.squeeze = nn.Conv2d(_WINDOW[8], 32, 1)
        self.cell = ConvLSTMCell(plan.encoder[2] + 32 + 7, plan.memory, kernel_size=3)
        self.layers = convolutions(plan.memory, plan.coarse)
        self.flow = zero_output(plan.coarse, outputs)
        self.correction = residual_correction(plan.coarse, plan.coarse, outputs, plan.depth) if plan.depth else None
        with torch.no_grad():
            bias_of(self.flow)[4] = -1.0
            bias_of(self.flow)[5:6] = -2.0

    def forward(
        self, now: Tensor, last: Tensor, hidden: Tensor, cell: Tensor, observed: Tensor, prior: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Update the memory and estimate motion.

        Args:
            now: Features of this frame (B, C, h, w).
            last: Features of the last frame, warped by ``observed`` as are ``hidden`` and ``cell``.
            hidden: Hidden state (B, K, h, w).
            cell: Cell (B, K, h, w).
            observed: First estimate of the observed flow (B, 2, h, w).
            prior: Flow predicted for this frame (B, 2, h, w).

        Returns:
            The motion (B, 4 or 9, h, w): observed flow, predicted flow and, with a canvas, the same two flows of the
            canvas and the share of the canvas to keep. Then the new hidden state and cell.
        """
        window, step, certainty = self.match(now, last.to(now.dtype))
        matched = F.leaky_relu(self.squeeze(window), SLOPE)
        inputs = [now, matched, observed / 16, prior / 16, step, certainty]
        hidden, cell = self.cell(join(inputs, now.dtype), hidden, cell)
        context = self.layers(hidden.to(now.dtype))
        change = self.flow(context)
        if self.correction is not None:
            change = change + self.correction(context)
        change = as_float(change)
        observed = observed + 8 * (torch.sigmoid(change[:, 4:5]) * step + change[:, :2])
        # Constant velocity along the path: the predicted flow is the observed flow, warped by itself.
        predicted = warp(observed, observed / 8) + 8 * change[:, 2:4]
        motion = [observed, predicted]
        if change.shape[1] > 5:
            motion += [observed + 8 * change[:, 6:8], predicted + 8 * change[:, 8:], torch.sigmoid(change[:, 5:6])]
        return torch.cat(motion, dim=1), hidden, cell


class Refinement(nn.Module):
    """Flows at 1/4: observed flow by matching and alignment, predicted flow from warped features."""

    def __init__(self, plan: ChannelPlan, correlation: bool, canvas: bool) -> None:
        super().__init__()
        channels, width, outputs = plan.encoder[1], plan.quarter, 5 if canvas else 2
        self.correlation = correlation
        self.memory = nn.Conv2d(plan.memory, 16, 1)
        self.observe = convolutions(channels + _WINDOW[4] + 2 + 16, width)
        self.observed = zero_output(width, 2)
        self.log_damping = nn.Parameter(torch.tensor(-8.0))
        self.narrow = nn.Conv2d(width, 16, 1)
        self.predict = convolutions(channels + 16 + 6, width, width)
        self.predicted = zero_output(width, outputs)
        self.correction = residual_correction(width, width, outputs, plan.depth) if plan.depth else None

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
        """Refine the motion.

        Args:
            now: Features of this frame (B, C, h, w).
            last: Features of the last frame.
            image: This frame, grey (B, 1, 2h, 2w).
            last_image: The last frame, grey (B, 1, 2h, 2w).
            motion: Motion from `MotionMemory`, upsampled to (B, 4 or 9, h, w).
            prior: Flow predicted for this frame (B, 2, h, w).
            hidden: Hidden state of the memory (B, K, h / 2, w / 2).

        Returns:
            The refined motion, and features of the next frame for the decoder.
        """
        dtype = now.dtype
        observed, predicted = motion[:, :2], motion[:, 2:4]
        last = sample(last.to(dtype), observed / 4)
        window = _scores(now, last, 4, self.correlation)
        memory = up(self.memory(hidden.to(dtype)))
        context = self.observe(join([now, window, observed / 8, memory], dtype))
        change = 4 * as_float(self.observed(context))
        change = change + 2 * alignment_step(image, last_image, (observed + change) / 2, 3, self.log_damping.exp())
        observed = observed + change
        ahead = sample(join([now, self.narrow(context), change, observed - prior], torch.float32), predicted / 4)
        context = self.predict(join([ahead, predicted / 8], dtype))
        correction = self.predicted(context)
        if self.correction is not None:
            correction = correction + self.correction(context)
        correction = 4 * as_float(correction)
        start = now.shape[1] + 16
        predicted = predicted + ahead[:, start : start + 2] + correction[:, :2]
        refined = [observed, predicted]
        if motion.shape[1] > 4:
            keep = torch.sigmoid(torch.logit(motion[:, 8:], 1e-4) + correction[:, 4:] / 4)
            refined += [motion[:, 4:6] + change, motion[:, 6:8] + correction[:, 2:4], keep]
        return torch.cat(refined, dim=1), context


class Decoder(nn.Module):
    """Blends the warped frame with the warped canvas and corrects the result, at full resolution.

    With ``depth``, a second correction also blends in the alternative predictions.
    """

    def __init__(self, plan: ChannelPlan, canvas: bool, in_channels: int) -> None:
        super().__init__()
        self.factor = 2 * plan.shrink
        self.drawn = drawn = 4 * in_channels
        """Channels of a frame at 1/2, after pixel unshuffle."""
        outputs = drawn + 4 * canvas
        self.context = nn.Conv2d(plan.quarter, self.factor**2 * plan.context, 1)
        self.layers = convolutions(drawn * (2 if canvas else 1) + 1 + plan.context, plan.decoder)
        self.output = zero_output(plan.decoder, outputs)
        self.correction = None
        if plan.depth:
            seen = plan.decoder + drawn * ALTERNATIVES
            self.correction = residual_correction(seen, plan.decoder, outputs + 4 * ALTERNATIVES, plan.depth)
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
        """Predict the next frame.

        Args:
            moved: Frame warped by the predicted flow (B, C, H, W).
            uncovered: Canvas warped by its own flow (B, C, H, W), None without a canvas.
            others: Alternative predictions (B, C, H, W); used with ``depth`` only.
            error: Photometric error of the motion (B, 1, H / 2, W / 2).
            context: Features from `Refinement`, at 1/4 of the frame that is scaled down.
            active: Activity (B, 1, H / 2, W / 2).

        Returns:
            The frame (B, C, H, W), and the weight of ``uncovered`` (B, 1, H / 2, W / 2).
        """
        context = F.pixel_shuffle(self.context(context), self.factor)
        dtype = context.dtype
        inputs = [unshuffle((moved - 0.5).to(dtype)), error * 4, context]
        if uncovered is not None:
            inputs.append(unshuffle((uncovered - moved).to(dtype)))
        x = self.layers(join(inputs, dtype))
        out = as_float(self.output(x))
        shares, differences = None, list[Tensor]()
        if self.correction is not None:
            differences = [other - moved for other in others]
            seen = join([x, *(unshuffle(each.to(dtype)) for each in differences)], dtype)
            correction = as_float(self.correction(seen))
            out, shares = out + correction[:, : out.shape[1]], correction[:, out.shape[1] :]
        drawn, weight = moved, torch.zeros_like(error)
        if uncovered is not None:
            weight = torch.sigmoid(out[:, self.drawn :])
            drawn = torch.lerp(moved, uncovered, shuffle(weight))
            weight = weight.mean(dim=1, keepdim=True)
        drawn = drawn + shuffle(out[:, : self.drawn] * active)
        if shares is not None:
            for share, difference in zip(shuffle(shares).split(1, dim=1), differences, strict=True):
                drawn = torch.addcmul(drawn, share, difference)
        return drawn, weight


def _scores(now: Tensor, last: Tensor, scale: int, correlation: bool) -> Tensor:
    """Similarity of the features nearby (B, K * K, h, w); zeros without ``correlation``."""
    if correlation:
        return local_correlation(now, last, _RADIUS[scale])
    return now.new_zeros(len(now), _WINDOW[scale], *now.shape[2:])
