"""Convolutional LSTM cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvLSTMCell(nn.Module):
    """ConvLSTM without peepholes (arXiv 1511.06309, section 3.2).

    ``i, f, o = sigmoid(x * W_x + h * W_h + b)``, ``g = tanh(...)``, ``c' = g.i + c.f``, ``h' = o.tanh(c')``.

    The input-to-gate convolution carries the bias and the hidden-to-gate convolution has none, so the
    two are one convolution over the channels of (x, h); `gates` holds both, gate order i, f, o, g.
    """

    def __init__(self, in_channels: int, hidden_channels: int, kernel_size: int = 7) -> None:
        super().__init__()
        self.hidden_channels = hidden_channels
        self.gates = nn.Conv2d(
            in_channels + hidden_channels, 4 * hidden_channels, kernel_size, padding=kernel_size // 2
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform(-0.08, 0.08) weights, forget-gate bias 1, other biases 0 (final version of the paper)."""
        nn.init.uniform_(self.gates.weight, -0.08, 0.08)
        assert self.gates.bias is not None
        nn.init.zeros_(self.gates.bias)
        with torch.no_grad():
            self.gates.bias[self.hidden_channels : 2 * self.hidden_channels] = 1.0

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), hidden and cell (B, K, H, W) -> the new hidden and cell, (B, K, H, W) float32.

        The memory stays in float32 whatever precision the convolution runs in, so that it does not
        lose small updates over thousands of frames.
        """
        gates = self.gates(torch.cat([x.to(hidden.dtype), hidden], dim=1))
        i, f, o, g = gates.chunk(4, dim=1)
        cell = (torch.sigmoid(i) * torch.tanh(g)).to(cell.dtype) + torch.sigmoid(f) * cell
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        return hidden, cell
