"""Convolutional LSTM cell, and a stack of cells as the memory of a network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stvae_ros.nn.layers.memory import MemoryStack, first_step, initialize_gates


class ConvLSTMCell(nn.Module):
    """ConvLSTM without peepholes (arXiv 1511.06309, section 3.2).

    ``i, f, o = sigmoid(x * W_x + h * W_h + b)``, ``g = tanh(...)``, ``c' = g.i + c.f``, ``h' = o.tanh(c')``.

    Only the input-to-gate convolution has a bias, so `gates` holds both convolutions as one over the channels of
    (x, h), in gate order i, f, o, g.

    Args:
        in_channels: Channels of the input.
        hidden_channels: Channels of hidden state and cell.
        kernel_size: Side of the kernels, odd.
        untied_first_step: Use a separate convolution for the gates of a step on empty memory.
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
        """One step.

        The memory stays in float32 whatever the precision of the convolution, so that small updates are not lost over
        thousands of frames.

        Args:
            x: Input (B, C, H, W).
            hidden: Hidden state (B, K, H, W).
            cell: Cell (B, K, H, W).
            started: (B, 1, 1, 1), 0 for items whose memory is empty. Needed with ``untied_first_step`` only.

        Returns:
            The new hidden state and cell, float32.
        """
        gates = self.gates(torch.cat([x, hidden.to(x.dtype)], dim=1))
        i, f, o = torch.sigmoid(gates[:, : 3 * self.hidden_channels]).chunk(3, dim=1)
        new_cell = (i * torch.tanh(gates[:, 3 * self.hidden_channels :])).to(cell.dtype) + f * cell
        new_hidden = o * torch.tanh(new_cell)
        if self.first is None or started is None:
            return new_hidden, new_cell
        return first_step(self.first(x), started, new_hidden, new_cell)


def conv_memory(channels: Sequence[int], untied_first_step: bool = False) -> MemoryStack:
    """Stack of ConvLSTM cells, one for each pair of adjacent ``channels``."""
    cells = [ConvLSTMCell(i, o, untied_first_step=untied_first_step) for i, o in pairwise(channels)]
    return MemoryStack(cells, channels[1:], untied_first_step)
