"""What the convolutional and the fully connected LSTMs have in common: initialisation, first step, stacking."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import State


def initialize_gates(layer: nn.Conv2d | nn.Linear, hidden: int = 0) -> None:
    """Uniform(-0.08, 0.08) weights, forget-gate bias 1, other biases 0 (final version of the paper).

    hidden: units of the forget gate, which come second in the layer; 0 for a layer without one.
    """
    nn.init.uniform_(layer.weight, -0.08, 0.08)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.bias[hidden : 2 * hidden] = 1.0


def first_step(gates: Tensor, started: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Replace hidden and cell of the items that have not ``started`` by what ``gates`` (i, o, g) give."""
    i, o, g = gates.chunk(3, dim=1)
    first_cell = (torch.sigmoid(i) * torch.tanh(g)).to(cell.dtype)
    first_hidden = (torch.sigmoid(o) * torch.tanh(first_cell)).to(hidden.dtype)
    old = started > 0
    return torch.where(old, hidden, first_hidden), torch.where(old, cell, first_cell)


class MemoryStack(nn.Module):
    """LSTM cells one upon the other.

    State: hidden and cell of each, float32; with ``untied_first_step`` a flag an item, 1 once it has started.
    shapes: of the hidden state of each cell, without the batch; sizes of maps may be left out, see `initial_state`.
    """

    def __init__(
        self, cells: Sequence[nn.Module], shapes: Sequence[tuple[int, ...]], untied_first_step: bool = False
    ) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.shapes, self.untied_first_step = shapes, untied_first_step

    def initial_state(self, batch: int, *size: int) -> State:
        """Zeros; ``size`` (h, w) for cells that work on maps."""
        device = next(self.parameters()).device
        parts = [torch.zeros(batch, *shape, *size, device=device) for shape in self.shapes for _ in range(2)]
        if self.untied_first_step:
            parts.append(torch.zeros(batch, *([1] * (1 + len(size))), device=device))
        return tuple(parts)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step of every cell; returns the last hidden state and the new state."""
        started = state[-1] if self.untied_first_step else None
        new: list[Tensor] = []
        for index, cell in enumerate(self.cells):
            hidden, memory = cell(x, state[2 * index], state[2 * index + 1], started)
            new += [hidden, memory]
            x = hidden
        if started is not None:
            new.append(torch.ones_like(started))
        return x, tuple(new)
