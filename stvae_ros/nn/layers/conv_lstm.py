"""Convolutional LSTM cell, and several of them as the memory of a network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stvae_ros.nn.layers.memory import MemoryStack, first_step, initialize_gates


class ConvLSTMCell(nn.Module):
    """ConvLSTM without peepholes (arXiv 1511.06309, section 3.2).

    ``i, f, o = sigmoid(x * W_x + h * W_h + b)``, ``g = tanh(...)``, ``c' = g.i + c.f``, ``h' = o.tanh(c')``.

    The input-to-gate convolution carries the bias and the hidden-to-gate convolution has none, so the
    two are one convolution over the channels of (x, h); `gates` holds both, gate order i, f, o, g.
    untied_first_step: a convolution of its own for the gates of a step on empty memory.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, kernel_size: int = 7, untied_first_step: bool = False
    ) -> None:
        super().__init__()
        self.hidden_channels = hidden_channels
        padding = kernel_size // 2
        self.gates = nn.Conv2d(in_channels + hidden_channels, 4 * hidden_channels, kernel_size, padding=padding)
        initialize_gates(self.gates, hidden_channels)
        self.first = None
        if untied_first_step:
            self.first = nn.Conv2d(in_channels, 3 * hidden_channels, kernel_size, padding=padding)
            initialize_gates(self.first)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor, started: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), hidden and cell (B, K, H, W) -> the new hidden and cell, (B, K, H, W) float32.

        started: (B, 1, 1, 1), 0 for the items whose memory is empty; needed with `untied_first_step` only.
        The memory stays in float32 whatever precision the convolution runs in, so that it does not
        lose small updates over thousands of frames.
        """
        x = x.to(hidden.dtype)
        i, f, o, g = self.gates(torch.cat([x, hidden], dim=1)).chunk(4, dim=1)
        new_cell = (torch.sigmoid(i) * torch.tanh(g)).to(cell.dtype) + torch.sigmoid(f) * cell
        new_hidden = torch.sigmoid(o) * torch.tanh(new_cell)
        if self.first is None or started is None:
            return new_hidden, new_cell
        return first_step(self.first(x), started, new_hidden, new_cell)


def conv_memory(channels: Sequence[int], untied_first_step: bool = False) -> MemoryStack:
    """ConvLSTMs one upon the other: for each pair of ``channels`` one cell, of maps of one size."""
    cells = [ConvLSTMCell(i, o, untied_first_step=untied_first_step) for i, o in pairwise(channels)]
    return MemoryStack(cells, channels[1:], untied_first_step)
