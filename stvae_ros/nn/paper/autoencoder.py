"""Spatial encoder E and decoder D: convolution-pooling-downsampling modules and their mirror."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


def spatial_encoder(channels: Sequence[int], kernel_size: int = 7, gain: float = 0.0) -> nn.Sequential:
    """E: for each pair of ``channels`` convolution, tanh, 2x2 max-pooling.

    (B, channels[0], H, W) -> (B, channels[-1], H / 2^n, W / 2^n) with n modules.
    gain: 0 for the paper's Xavier weights, else see `contrast`, which changes the first layer.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        conv = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)
        xavier(conv)
        if gain and not layers:
            contrast(conv, gain)
        layers += [conv, nn.Tanh(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers)


def spatial_decoder(channels: Sequence[int], kernel_size: int = 7) -> nn.Sequential:
    """D: for each pair of ``channels`` nearest-neighbour upsampling and convolution, no non-linearity.

    (B, channels[0], h, w) -> (B, channels[-1], 2^n h, 2^n w) with n modules.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        conv = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)
        xavier(conv)
        layers += [nn.Upsample(scale_factor=2, mode="nearest"), conv]
    return nn.Sequential(*layers)


def xavier(layer: nn.Conv2d | nn.Linear) -> None:
    """Xavier weights and zero bias, the paper's initialisation of all but its LSTMs."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def contrast(conv: nn.Conv2d, gain: float) -> None:
    """Make the filters of a layer blind to brightness and ``gain`` times as strong.

    Xavier filters answer mostly to the mean brightness of frames in [0, 1], which leaves the gates of a
    ConvLSTM nearly linear; motion, a product of what two frames show, is then invisible to its gradient.
    """
    with torch.no_grad():
        conv.weight -= conv.weight.mean(dim=(2, 3), keepdim=True)
        conv.weight *= gain
