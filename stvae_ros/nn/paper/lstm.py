"""Fully connected LSTM and the memory of the fully connected systems."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stvae_ros.nn.layers.memory import MemoryStack, MemoryState, first_step, initialize_gates
from stvae_ros.nn.paper.autoencoder import xavier


class LSTMCell(nn.Module):
    """LSTM cell on vectors, with gates in the order i, f, o, g and one bias (arXiv 1308.0850, equations 7 to 11).

    Args:
        in_features: units of the input.
        hidden_features: units of the hidden and cell state.
        peepholes: whether i and f also read the old cell state, and o the new one, element by element.
        untied_first_step: whether a step on empty memory has separate gates.
    """

    def __init__(
        self, in_features: int, hidden_features: int, peepholes: bool = False, untied_first_step: bool = False
    ) -> None:
        super().__init__()
        self.gates = nn.Linear(in_features + hidden_features, 4 * hidden_features)
        initialize_gates(self.gates, hidden_features)
        self.peepholes = None
        if peepholes:
            self.peepholes = nn.Parameter(torch.empty(3, hidden_features).uniform_(-0.08, 0.08))
        self.first = None
        if untied_first_step:
            self.first = nn.Linear(in_features, 3 * hidden_features)
            initialize_gates(self.first)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor, started: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run one step.

        Args:
            x: input, (B, N).
            hidden, cell: old state, (B, K).
            started: see `MemoryState`.

        Returns:
            The new hidden and cell state, (B, K) float32.
        """
        x = x.to(hidden.dtype)
        i, f, o, g = self.gates(torch.cat([x, hidden], dim=1)).chunk(4, dim=1)
        if self.peepholes is not None:
            i, f = i + self.peepholes[0] * cell, f + self.peepholes[1] * cell
        new_cell = (torch.sigmoid(i) * torch.tanh(g)).to(cell.dtype) + torch.sigmoid(f) * cell
        if self.peepholes is not None:
            o = o + self.peepholes[2] * new_cell
        new_hidden = torch.sigmoid(o) * torch.tanh(new_cell)
        if self.first is None or started is None:
            return new_hidden, new_cell
        return first_step(self.first(x), started, new_hidden, new_cell)


class FullyConnectedMemory(nn.Module):
    """A linear layer, a stack of LSTMs on vectors and, if ``outputs`` is given, a linear layer back to a map.

    Args:
        inputs: shape (C, h, w) of the features.
        hidden: units of the first linear layer and of each LSTM.
        outputs: shape of the result. None reshapes the last hidden vector to (units / (h w), h, w).
        peepholes, untied_first_step: see `LSTMCell`.
    """

    def __init__(
        self,
        inputs: tuple[int, int, int],
        hidden: Sequence[int],
        outputs: tuple[int, int, int] | None = None,
        peepholes: bool = False,
        untied_first_step: bool = False,
    ) -> None:
        super().__init__()
        channels, height, width = inputs
        self.outputs = outputs or (hidden[-1] // (height * width), height, width)
        self.out_channels = self.outputs[0]
        self.inward = nn.Linear(channels * height * width, hidden[0])
        xavier(self.inward)
        cells = [LSTMCell(i, o, peepholes, untied_first_step) for i, o in pairwise(hidden)]
        self.stack = MemoryStack(cells, hidden[1:], untied_first_step)
        self.outward = None
        if outputs is not None:
            self.outward = nn.Linear(hidden[-1], outputs[0] * outputs[1] * outputs[2])
            xavier(self.outward)

    def initial_state(self, batch: int, height: int, width: int) -> MemoryState:
        """Return zeros, (B, units); the size of the features does not matter."""
        return self.stack.initial_state(batch)

    def forward(self, features: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """Map features (B, C, h, w) to (B, C', h, w), and return the new state."""
        hidden, state = self.stack(self.inward(features.flatten(1)), state)
        if self.outward is not None:
            hidden = self.outward(hidden)
        return hidden.unflatten(1, self.outputs), state
