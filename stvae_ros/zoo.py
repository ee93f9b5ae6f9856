"""The networks by name, and the network of a checkpoint: the short way for scripts."""

from __future__ import annotations

from pathlib import Path

import torch

from stvae_ros.checkpoint import Checkpoint
from stvae_ros.nn.interface import FramePredictor
from stvae_ros.nn.registry import create, names

__all__ = ["create", "load", "names"]


def load(path: str | Path, device: str | torch.device = "cpu") -> FramePredictor:
    """Load the network of a checkpoint, in evaluation mode.

    Args:
        path: a .safetensors file.
        device: where the network shall be.

    Raises:
        CheckpointError: the file is missing, damaged, or not a checkpoint of this package.
    """
    return Checkpoint.open(path).network().to(device)
