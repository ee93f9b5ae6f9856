"""Stack of LSTM cells, convolutional or fully connected: state, initialisation and first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import State


class MemoryState(NamedTuple):
    """State of a `MemoryStack`; all tensors are float32, batch first.

    Attributes:
        hidden: hidden state h of each cell.
        cell: cell state c of each cell, of the same shape as its hidden state.
        started: 1 for batch items that have seen a frame, else 0, (B, 1) or (B, 1, 1, 1). None without an untied first
            step.
    """

    hidden: tuple[Tensor, ...]
    cell: tuple[Tensor, ...]
    started: Tensor | None = None

    def flatten(self) -> State:
        """Return (h_1, c_1, h_2, c_2, ..., started); `started` is left out if it is None."""
        flat = tuple(part for pair in zip(self.hidden, self.cell, strict=True) for part in pair)
        return flat if self.started is None else (*flat, self.started)

    @classmethod
    def unflatten(cls, flat: State) -> MemoryState:
        """Invert `flatten`: an odd number of tensors ends with `started`."""
        end = len(flat) // 2 * 2
        return cls(flat[:end:2], flat[1:end:2], flat[end] if len(flat) > end else None)


class MemoryStack(nn.Module):
    """LSTM cells, each of which reads the hidden state of the one before.

    Args:
        cells: modules with the signature (x, hidden, cell, started) -> (hidden, cell).
        units: channels or units of each cell.
        untied_first_step: whether the cells have separate gates for a step on empty memory.
    """

    def __init__(self, cells: Sequence[nn.Module], units: Sequence[int], untied_first_step: bool = False) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.units, self.untied_first_step = units, untied_first_step

    def initial_state(self, batch: int, *size: int) -> MemoryState:
        """Return zeros; ``size`` is (height, width) for convolutional cells and empty for the others."""
        device = next(self.parameters()).device

        def zeros() -> tuple[Tensor, ...]:
            return tuple(torch.zeros(batch, units, *size, device=device) for units in self.units)

        started = torch.zeros(batch, 1, *(1 for _ in size), device=device) if self.untied_first_step else None
        return MemoryState(zeros(), zeros(), started)

    def forward(self, x: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """Run one step of every cell; return the last hidden state and the new state."""
        hidden, cell = [], []
        for lstm, old_hidden, old_cell in zip(self.cells, state.hidden, state.cell, strict=True):
            x, new_cell = lstm(x, old_hidden, old_cell, state.started)
            hidden.append(x)
            cell.append(new_cell)
        started = None if state.started is None else torch.ones_like(state.started)
        return x, MemoryState(tuple(hidden), tuple(cell), started)


def initialize_gates(layer: nn.Conv2d | nn.Linear, hidden: int = 0) -> None:
    """Initialise gates as in the paper: uniform(-0.08, 0.08) weights, forget-gate bias 1, other biases 0.

    Args:
        layer: gates in the order i, f, o, g.
        hidden: units of the forget gate; 0 for a layer without one.
    """
    nn.init.uniform_(layer.weight, -0.08, 0.08)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.bias[hidden : 2 * hidden] = 1.0


def first_step(gates: Tensor, started: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the state of items that have not started by the result of the first-step gates.

    Args:
        gates: pre-activations of i, o, g from the input alone; empty memory has nothing to forget.
        started: see `MemoryState`.
        hidden, cell: result of the ordinary step.

    Returns:
        Hidden and cell state of the step.
    """
    i, o, g = gates.chunk(3, dim=1)
    first_cell = (torch.sigmoid(i) * torch.tanh(g)).to(cell.dtype)
    first_hidden = (torch.sigmoid(o) * torch.tanh(first_cell)).to(hidden.dtype)
    old = started > 0
    return torch.where(old, hidden, first_hidden), torch.where(old, cell, first_cell)
