"""Layers and operations that the parts of `stvae-rt` share."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1
"""Of leaky ReLUs below zero."""


def convolutions(*channels: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolutions, the first with ``stride``, each followed by a leaky ReLU."""
    layers: list[nn.Module] = []
    for i, o in pairwise(channels):
        convolution = nn.Conv2d(i, o, 3, 1 if layers else stride, 1)
        # PyTorch's own start halves the signal in every layer, which without normalisation leaves little of it.
        nn.init.kaiming_normal_(convolution.weight, a=SLOPE)
        nn.init.zeros_(bias_of(convolution))
        layers += [convolution, nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*layers)


def bias_of(convolution: nn.Conv2d) -> Tensor:
    """Of a convolution that has one."""
    assert convolution.bias is not None
    return convolution.bias


def zero_output(i: int, o: int) -> nn.Conv2d:
    """A 3x3 convolution that starts at zero: every flow and the decoder begin with copying the last frame."""
    convolution = nn.Conv2d(i, o, 3, 1, 1)
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(bias_of(convolution))
    return convolution


class Residual(nn.Module):
    """Two 3x3 convolutions, the second of which starts at zero, whose result is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolutions(channels, channels), zero_output(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the shape of x."""
        return x + self.layers(x)


def residual_correction(i: int, width: int, o: int, depth: int) -> nn.Sequential:
    """``depth`` blocks, from i to o channels. It starts at zero: a network that has it begins as one without."""
    return nn.Sequential(convolutions(i, width), *(Residual(width) for _ in range(depth)), zero_output(width, o))


def join(parts: list[Tensor], dtype: torch.dtype) -> Tensor:
    """Concatenate channels, in the channels-last order that convolutions like best."""
    return torch.cat([part.to(dtype).permute(0, 2, 3, 1) for part in parts], dim=3).permute(0, 3, 1, 2)


def shuffle(x: Tensor) -> Tensor:
    """`pixel_shuffle` by 2, in a third of its time on a CPU where channels come last in memory."""
    batch, channels, height, width = x.shape
    apart = x.permute(0, 2, 3, 1).reshape(batch, height, width, channels // 4, 2, 2)
    return apart.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // 4, 2 * height, 2 * width)


def up(x: Tensor, factor: int = 2) -> Tensor:
    """(B, C, H, W) at ``factor`` times its resolution, bilinear."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
