"""A network that is an exported step in a file."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.runtime.exported_step import Shape, empty_state, named


class FileNetwork(FramePredictor):
    """The metadata of `Step.description`, and a memory on the CPU.

    Raises:
        ValueError: the metadata is not that of an exported step.
    """

    def __init__(self, path: str | Path, metadata: Mapping[str, str]) -> None:
        super().__init__()
        if "state_shapes" not in metadata:
            raise ValueError(f"{path}: not a step of this package; write one with 'stvae export WEIGHTS --output FILE'")
        self.metadata = dict(metadata)
        size = json.loads(metadata["size"])
        self.frame_size = None if size is None else (size[1], size[0])
        self.size_multiple = int(metadata["size_multiple"])
        self.in_channels = int(metadata["channels"])
        self.draws_detail = metadata["draws_detail"] == "true"
        self._shapes: list[Shape] = [tuple(shape) for shape in json.loads(metadata["state_shapes"])]
        self._outputs: list[str] = json.loads(metadata["outputs"])

    @abstractmethod
    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run the step: its outputs in order, from its inputs in order."""

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """See `FramePredictor.initial_state`."""
        self.check_size(height, width)
        return empty_state(self._shapes, batch, height, width)

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """See `FramePredictor.step`."""
        return named(self._outputs, self.run((frame, *state)))
