"""Writing a step as an ONNX file, and running such a file with ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stvae_ros.nn.layers.portable import portable_operations
from stvae_ros.runtime.exported_step import Step
from stvae_ros.runtime.file_network import FileNetwork

OPSETS = (17, 18)
"""Supported opsets. TensorRT computes the GridSample of later opsets wrongly."""


def write_onnx(
    step: Step, path: Path, size: tuple[int, int] | None, metadata: Mapping[str, str], opset: int = OPSETS[0]
) -> None:
    """Write a step for batches of any number of frames.

    Args:
        step: to write.
        path: of the file.
        size: width and height of the frames; None for any size.
        metadata: of the file, besides `Step.description`.
        opset: one of `OPSETS`.

    Raises:
        ValueError: the network cannot take the size, or the package onnx is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise ValueError("ONNX files need onnx: pip install onnx onnxruntime") from error
    network = step.network
    height, width = size[::-1] if size else (8 * network.size_multiple, 6 * network.size_multiple)
    network.check_size(height, width)
    axes: dict[str, dict[int, str]] = {"frame": {0: "batch"} if size else {0: "batch", 2: "height", 3: "width"}}
    for name, shape in zip(step.input_names[1:], step.state_shapes, strict=True):
        varying = {axis: str(length) for axis, length in enumerate(shape) if isinstance(length, str)}
        axes[name] = {0: "batch"} if size else varying
    with torch.no_grad(), portable_operations(), warnings.catch_warnings():
        # The newer exporter of PyTorch takes a minute where this one takes seconds, and older PyTorch lacks it.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            step,
            step.example(2, height, width),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=step.input_names,
            output_names=step.output_names,
            dynamic_axes={**axes, **{name: {0: "batch"} for name in step.output_names}},
        )
    model = onnx.load(path)
    model.producer_name, model.graph.name = "stvae_ros", "step"
    onnx.helper.set_model_props(model, {**metadata, **step.description(size)})
    onnx.checker.check_model(model)
    onnx.save(model, path)


class OnnxNetwork(FileNetwork):
    """The network of a file of `write_onnx`, run by ONNX Runtime.

    Args:
        path: of the file.
        providers: of ONNX Runtime, each a name or a pair of name and options, best first.
        threads: of the CPU; 0 for as many as PyTorch uses.

    Attributes:
        provider: the execution provider in use, by its name in ONNX Runtime.

    Raises:
        ValueError: the file is not such a step, or the package onnxruntime is missing.
    """

    def __init__(
        self, path: str | Path, providers: Sequence[Any] = ("CPUExecutionProvider",), threads: int = 0
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError("backend onnxruntime needs ONNX Runtime: pip install onnx onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # ONNX Runtime has a class of its own for each kind of failure.
            raise ValueError(f"{path}: ONNX Runtime cannot run it ({error}); export it again") from error
        super().__init__(path, self._session.get_modelmeta().custom_metadata_map)
        self._inputs = [value.name for value in self._session.get_inputs()]
        self.provider: str = self._session.get_providers()[0]

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """See `FileNetwork.run`. ONNX Runtime moves the data to a GPU and back."""
        arrays = {name: part.float().cpu().numpy() for name, part in zip(self._inputs, inputs, strict=True)}
        return [torch.from_numpy(result) for result in self._session.run(None, arrays)]
