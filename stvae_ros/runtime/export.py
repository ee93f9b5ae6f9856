"""From weights to the file of a step, which is checked before it is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import stvae_ros
from stvae_ros import zoo
from stvae_ros.runtime.export_check import Difference, difference, moving_frames
from stvae_ros.runtime.exported_step import Step
from stvae_ros.runtime.file_network import FileNetwork
from stvae_ros.runtime.onnx_file import OPSETS, OnnxNetwork, write_onnx
from stvae_ros.runtime.torch_file import TorchExportNetwork, write_torch

Size = tuple[int, int]


def export_onnx(
    weights: Path,
    output: Path,
    size: Size | None,
    precision: str = "fp32",
    opset: int = OPSETS[0],
    check_size: Size | None = None,
    progress: Callable[[], object] = lambda: None,
) -> Difference:
    """Write the step of a network as an ONNX file, whole or not at all, if ONNX Runtime does with it what PyTorch does.

    size: (width, height) in pixels; None for any. check_size: of the frames that it is tried on where any are taken.
    progress: called after each frame of the check. Returns how far it is from PyTorch in fp32. Raises WeightsError,
    ValueError for a size or precision that cannot be, ExportError if the two do not agree.
    """

    def write(step: Step, path: Path, metadata: dict[str, str]) -> FileNetwork:
        write_onnx(step, path, size, metadata, opset)
        # On one thread: others would wait awake for their turn while PyTorch is at work.
        return OnnxNetwork(path, threads=1)

    return _export(weights, output, size or check_size, precision, write, progress)


def export_torch(
    weights: Path, output: Path, size: Size, precision: str = "fp32", progress: Callable[[], object] = lambda: None
) -> Difference:
    """The same as a file of torch.export, for frames of one size."""

    def write(step: Step, path: Path, metadata: dict[str, str]) -> FileNetwork:
        write_torch(step, path, size, metadata)
        return TorchExportNetwork(path)

    return _export(weights, output, size, precision, write, progress)


def _export(
    weights: Path,
    output: Path,
    size: Size | None,
    precision: str,
    write: Callable[[Step, Path, dict[str, str]], FileNetwork],
    progress: Callable[[], object],
) -> Difference:
    """write: writes a step to a path and returns what was written as a network. size: of the frames to try it on."""
    network = zoo.load(weights)
    step = Step(network, precision)
    metadata = {
        **zoo.read_metadata(weights),
        "package_version": stvae_ros.__version__,
        "weights": f"{weights.name} sha256:{zoo.file_hash(weights)}",
    }
    width, height = size or zoo.processing_size(weights)
    network.check_size(height, width)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.stem}.{os.getpid()}{output.suffix}")
    try:
        exported = write(step, partial, metadata)
        frames = moving_frames(network.in_channels, width, height)
        found = difference(network, exported, frames, progress)
        found.check(precision)
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    return found
