"""Spatial encoder E and decoder D: convolution-pooling-downsampling modules and their mirror."""

from __future__ import annotations

import torch
from torch import nn


def spatial_encoder(in_channels: int, out_channels: int, kernel_size: int = 7, gain: float = 0.0) -> nn.Sequential:
    """E: convolution, tanh, 2x2 max-pooling; (B, in, H, W) -> (B, out, H/2, W/2).

    gain: 0 for the paper's Xavier weights, else see `contrast`.
    """
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    xavier(conv)
    if gain:
        contrast(conv, gain)
    return nn.Sequential(conv, nn.Tanh(), nn.MaxPool2d(2))


def spatial_decoder(in_channels: int, out_channels: int, kernel_size: int = 7) -> nn.Sequential:
    """D: nearest-neighbour upsampling, convolution, no non-linearity; (B, in, h, w) -> (B, out, 2h, 2w)."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    xavier(conv)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), conv)


def xavier(conv: nn.Conv2d) -> None:
    """Xavier weights and zero bias, the paper's initialisation of its plain convolutions."""
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def contrast(conv: nn.Conv2d, gain: float) -> None:
    """Make the filters of a layer blind to brightness and ``gain`` times as strong.

    Xavier filters answer mostly to the mean brightness of frames in [0, 1], which leaves the gates of a
    ConvLSTM nearly linear; motion, a product of what two frames show, is then invisible to its gradient.
    """
    with torch.no_grad():
        conv.weight -= conv.weight.mean(dim=(2, 3), keepdim=True)
        conv.weight *= gain
