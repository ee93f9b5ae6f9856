"""Fully connected LSTM cell, with or without peepholes, and the memory of the fully connected systems."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import State
from stvae_ros.nn.layers.memory import MemoryStack, first_step, initialize_gates
from stvae_ros.nn.paper.autoencoder import xavier


class LSTMCell(nn.Module):
    """LSTM on vectors, gate order i, f, o, g, one bias.

    With ``peepholes``, i and f also see ``w.c`` of the old cell and o that of the new one, element by
    element (Graves, arXiv 1308.0850, equations 7 to 11). untied_first_step: a layer of its own for the
    gates of a step on empty memory.
    """

    def __init__(
        self, in_features: int, hidden_features: int, peepholes: bool = False, untied_first_step: bool = False
    ) -> None:
        super().__init__()
        self.hidden_features = hidden_features
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
        """x (B, N), hidden and cell (B, K), started (B, 1) -> the new hidden and cell, (B, K) float32."""
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
    """A linear layer, LSTMs on vectors and, where ``outputs`` is given, a linear layer back.

    inputs: shape (C, h, w) of the features. hidden: units of the linear layer and of each LSTM after it.
    outputs: shape of what comes out; None reshapes the last hidden vector to (units / (h w), h, w).
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
        cells = [LSTMCell(units, units_out, peepholes, untied_first_step) for units, units_out in pairwise(hidden)]
        self.stack = MemoryStack(cells, [(units,) for units in hidden[1:]], untied_first_step)
        self.outward = None
        if outputs is not None:
            self.outward = nn.Linear(hidden[-1], outputs[0] * outputs[1] * outputs[2])
            xavier(self.outward)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Hidden and cell of each LSTM, (B, units), zeros; height and width are those of the features."""
        return self.stack.initial_state(batch)

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """features (B, C, h, w) -> (B, C', h, w) and the new state."""
        hidden, state = self.stack(self.inward(features.flatten(1)), state)
        if self.outward is not None:
            hidden = self.outward(hidden)
        return hidden.unflatten(1, self.outputs), state
