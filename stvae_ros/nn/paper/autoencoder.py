"""Spatial encoder E and decoder D of the paper (arXiv 1511.06309, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import Prediction


def spatial_encoder(channels: Sequence[int], kernel_size: int = 7, gain: float = 0.0) -> nn.Sequential:
    """Encoder E of convolution-pooling-downsampling (CPD) modules: convolution, tanh, 2x2 max-pooling.

    n modules map (B, channels[0], H, W) to (B, channels[n], H / 2^n, W / 2^n).

    Args:
        channels: of the frame and after each module.
        kernel_size: of the convolutions.
        gain: 0 for the paper's Xavier initialisation, else the gain of `zero_mean_filters` for the first layer.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        convolution = _convolution(inputs, outputs, kernel_size)
        if gain and not layers:
            zero_mean_filters(convolution, gain)
        layers += [convolution, nn.Tanh(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers)


def spatial_decoder(channels: Sequence[int], kernel_size: int = 7) -> nn.Sequential:
    """Decoder D: for each pair of ``channels`` nearest-neighbour upsampling and convolution, without non-linearity.

    n modules map (B, channels[0], h, w) to (B, channels[n], 2^n h, 2^n w).
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [nn.Upsample(scale_factor=2, mode="nearest"), _convolution(inputs, outputs, kernel_size)]
    return nn.Sequential(*layers)


def decoded_prediction(decoded: Tensor, flow: Tensor | None, sigmoid: bool) -> Prediction:
    """Make the prediction of a network from the output of its decoder.

    Args:
        decoded: output of D, (B, C, H, W).
        flow: backward flow in pixels of the frame, or None.
        sigmoid: whether ``decoded`` holds logits.
    """
    decoded = decoded.float()
    return Prediction(torch.sigmoid(decoded), flow, decoded) if sigmoid else Prediction(decoded, flow)


def xavier(layer: nn.Conv2d | nn.Linear) -> None:
    """Set Xavier weights and zero bias: the paper's initialisation of all layers but the LSTMs."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def zero_mean_filters(conv: nn.Conv2d, gain: float) -> None:
    """Subtract the mean of each filter and multiply the filters by ``gain``.

    Xavier filters respond mostly to the mean brightness of frames in [0, 1]. The gates of a ConvLSTM then stay nearly
    linear, and its gradient does not see motion, which is a product of two frames.
    """
    with torch.no_grad():
        conv.weight -= conv.weight.mean(dim=(2, 3), keepdim=True)
        conv.weight *= gain


def _convolution(inputs: int, outputs: int, kernel_size: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)
    xavier(layer)
    return layer
