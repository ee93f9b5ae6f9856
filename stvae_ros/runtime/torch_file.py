"""A step as a file of torch.export, and such a file as a network."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from stvae_ros.nn.layers.portable import portable_operations
from stvae_ros.runtime.exported_step import Step
from stvae_ros.runtime.file_network import FileNetwork

_METADATA = "metadata.json"


def write_torch(step: Step, path: Path, size: tuple[int, int], metadata: Mapping[str, str]) -> None:
    """Write ``step`` for batches of any number of frames of ``size`` (width, height).

    Raises ValueError for a size that the network cannot take.
    """
    width, height = size
    step.network.check_size(height, width)
    example = step.example(2, height, width)
    batch = torch.export.Dim("batch", min=1, max=1024)
    shapes = {"frame": {0: batch}, "state": tuple({0: batch} for _ in example[1:])}
    with torch.no_grad(), portable_operations(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(step, example, dynamic_shapes=shapes, strict=False)
        text = json.dumps({**metadata, **step.description(size)})
        torch.export.save(program, path, extra_files={_METADATA: text})


class TorchExportNetwork(FileNetwork):
    """Does what the network does that `write_torch` wrote. Raises ValueError for a file that is not such a step."""

    def __init__(self, path: str | Path) -> None:
        files = {_METADATA: ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                program = torch.export.load(path, extra_files=files)
            except Exception as error:  # Of any class, depending on what is wrong.
                raise ValueError(f"{path}: PyTorch cannot load it ({error}); export it again") from error
            super().__init__(path, json.loads(files[_METADATA] or "{}"))
            self._program = program.module()

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """See `FileNetwork.run`."""
        return list(self._program(*inputs))
