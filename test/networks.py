"""Networks for tests, none of them trained."""

from __future__ import annotations

from pathlib import Path

import torch

from stvae_ros import zoo
from stvae_ros.checkpoint import save
from stvae_ros.nn.interface import FramePredictor, Prediction, State


def small_network(folder: Path, seed: int = 0) -> Path:
    """Weights, not trained, of a network for frames of 96x64 that starts in a moment."""
    torch.manual_seed(seed)
    path = folder / f"small{seed}.safetensors"
    network = zoo.create("ae-convlstm-flow")
    save(path, network, "ae-convlstm-flow", metadata={"processing_size": "[96, 64]"})
    return path


class Drift(FramePredictor):
    """Says that everything has moved right by ``pixels``, and will again, and draws that."""

    def __init__(self, pixels: int, channels: int, size_multiple: int = 1) -> None:
        super().__init__()
        self.pixels, self.in_channels, self.size_multiple = pixels, channels, size_multiple
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def initial_state(self, batch: int, height: int, width: int) -> State:
        return (torch.zeros(batch, 1),)

    def step(self, frame: torch.Tensor, state: State) -> tuple[Prediction, State]:
        backward = torch.zeros(len(frame), 2, *frame.shape[-2:])
        backward[:, 0] = -self.pixels
        return Prediction(frame.roll(self.pixels, dims=3), backward, observed_flow=backward), state
