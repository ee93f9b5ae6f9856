"""Layers and tensor operations that the parts of `stvae-rt` share."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stvae_ros.nn.layers.portable import cpu_inference, portable

SLOPE = 0.1
"""Slope of leaky ReLUs below zero."""
_LARGE = 65536
"""Number of elements of the larger image from which resizing in few strided operations is faster on a CPU."""
_SMALL = 16384
"""Number of elements up to which `avg_pool2d` is faster than a few strided operations."""
_FEW_COLUMNS = 40
"""Width up to which upsampling by a large factor is faster on a CPU as two matrix products."""


def convolutions(*channels: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolutions, each followed by a leaky ReLU.

    Args:
        channels: Channels of the input and of every layer.
        stride: Stride of the first convolution.
    """
    layers: list[nn.Module] = []
    for i, o in pairwise(channels):
        convolution = nn.Conv2d(i, o, 3, 1 if layers else stride, 1)
        # PyTorch's default initialisation halves the signal in every layer, and there is no normalisation here.
        nn.init.kaiming_normal_(convolution.weight, a=SLOPE)
        nn.init.zeros_(bias_of(convolution))
        layers += [convolution, nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*layers)


def bias_of(convolution: nn.Conv2d) -> Tensor:
    """Bias of a convolution that has one."""
    assert convolution.bias is not None
    return convolution.bias


def zero_output(i: int, o: int) -> nn.Conv2d:
    """3x3 convolution initialised to zero, so that an untrained network copies the last frame."""
    convolution = nn.Conv2d(i, o, 3, 1, 1)
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(bias_of(convolution))
    return convolution


class Residual(nn.Module):
    """Residual block of two 3x3 convolutions. The second is initialised to zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolutions(channels, channels), zero_output(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Returns a tensor of the shape of ``x``."""
        result: Tensor = self.layers(x)
        return result.add_(x)


def residual_correction(i: int, width: int, o: int, depth: int) -> nn.Sequential:
    """Network of ``depth`` residual blocks, from ``i`` to ``o`` channels, whose output is zero before training."""
    return nn.Sequential(convolutions(i, width), *(Residual(width) for _ in range(depth)), zero_output(width, o))


def as_float(x: Tensor) -> Tensor:
    """``x`` in float32 and in PyTorch's default memory format, in one pass."""
    return x.to(torch.float32, memory_format=torch.contiguous_format)


def join(parts: list[Tensor], dtype: torch.dtype) -> Tensor:
    """Concatenate channels as ``dtype`` in channels-last memory format, the fastest for convolutions."""
    return torch.cat([part.to(dtype).permute(0, 2, 3, 1) for part in parts], dim=3).permute(0, 3, 1, 2)


def shuffle(x: Tensor) -> Tensor:
    """`pixel_shuffle` by 2, faster than PyTorch's on a CPU."""
    batch, channels, height, width = x.shape
    apart = x.permute(0, 2, 3, 1).reshape(batch, height, width, channels // 4, 2, 2)
    return apart.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // 4, 2 * height, 2 * width)


def unshuffle(x: Tensor) -> Tensor:
    """`pixel_unshuffle` by 2 in channels-last memory format, faster than PyTorch's on a CPU."""
    if portable():
        return F.pixel_unshuffle(x, 2)
    x = x.permute(0, 2, 3, 1)
    parts = [x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return torch.stack(parts, dim=4).flatten(3).permute(0, 3, 1, 2)


def up(x: Tensor, factor: int = 2) -> Tensor:
    """Bilinear upsampling of (B, C, H, W) by ``factor``, one axis at a time where that is faster."""
    if x.dtype == torch.float32 and cpu_inference(x):
        height, width = x.shape[2:]
        if width <= _FEW_COLUMNS and factor >= 4:
            return _interpolation(height, factor).t() @ (x @ _interpolation(width, factor))
        if factor <= 4 and x.numel() * factor**2 > _LARGE:
            return _up_along(_up_along(x, 3, factor), 2, factor)
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


@lru_cache(maxsize=32)
def _interpolation(length: int, factor: int) -> Tensor:
    """Linear upsampling along one axis as a matrix, (length, length * factor)."""
    with torch.inference_mode(False), torch.no_grad():
        return F.interpolate(torch.eye(length)[None], scale_factor=factor, mode="linear", align_corners=False)[0]


def _up_along(x: Tensor, axis: int, factor: int) -> Tensor:
    """Linear upsampling along axis 2 or 3, by an even ``factor``: each output mixes a pixel with one neighbour."""
    length = x.shape[axis]
    padded = F.pad(x, (1, 1, 0, 0) if axis == 3 else (0, 0, 1, 1), mode="replicate")
    fine = x.new_empty(*x.shape[: axis + 1], factor, *x.shape[axis + 1 :])
    for k in range(factor):
        offset = (2 * k + 1 - factor) / (2 * factor)
        neighbour = padded.narrow(axis, 2 if offset > 0 else 0, length)
        torch.lerp(x, neighbour, abs(offset), out=fine.select(axis + 1, k))
    return fine.flatten(axis, axis + 1)


def halve(x: Tensor) -> Tensor:
    """Mean of every 2x2 block of (B, C, H, W), whose height and width are even."""
    return block_sum(x) / 4 if x.numel() > _SMALL else F.avg_pool2d(x, 2)


def block_sum(x: Tensor) -> Tensor:
    """Sum of every 2x2 block; on a CPU, `avg_pool2d` is slower for large images."""
    rows = x[..., ::2, :] + x[..., 1::2, :]
    return rows[..., ::2] + rows[..., 1::2]


def box_sum(x: Tensor, window: int) -> Tensor:
    """Sum over ``window`` x ``window`` pixels, zeros outside, one axis at a time; faster than `avg_pool2d`."""
    x = F.pad(x, [window // 2] * 4)
    for axis in (3, 2):
        size = x.shape[axis] - window + 1
        x = sum((x.narrow(axis, k, size) for k in range(1, window)), x.narrow(axis, 0, size))
    return x


def dilate(x: Tensor) -> Tensor:
    """Maximum over 3x3 pixels, without the indices that `max_pool2d` computes on a CPU."""
    if not cpu_inference(x):
        return F.max_pool2d(x, 3, 1, 1)
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = torch.maximum(torch.maximum(x[..., :-2], x[..., 2:]), x[..., 1:-1])
    return torch.maximum(torch.maximum(x[..., :-2, :], x[..., 2:, :]), x[..., 1:-1, :])
