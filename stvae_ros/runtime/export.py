"""From a checkpoint to an ONNX file of one step, which is checked before it appears."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import stvae_ros
from stvae_ros.checkpoint import Checkpoint
from stvae_ros.files import replaced
from stvae_ros.runtime.export_check import Difference, difference, moving_frames
from stvae_ros.runtime.exported_step import Step
from stvae_ros.runtime.onnx_file import OPSETS, OnnxNetwork, write_onnx

Size = tuple[int, int]


def export_onnx(
    checkpoint: Checkpoint,
    output: Path,
    size: Size | None,
    precision: str = "fp32",
    opset: int = OPSETS[0],
    check_size: Size | None = None,
    progress: Callable[[], object] = lambda: None,
) -> Difference:
    """Write one step of a network as an ONNX file, whole or not at all.

    The file appears only if ONNX Runtime computes what PyTorch computes, within `export_check.TOLERANCES`.

    Args:
        checkpoint: of the network.
        output: the file to write.
        size: width and height of the frames in pixels; None for frames of any size.
        precision: of the convolutions, one of `exported_step.PRECISIONS`.
        opset: of ONNX.
        check_size: size of the frames of the check, if ``size`` is None.
        progress: called after each frame of the check.

    Returns:
        The difference from PyTorch in fp32.

    Raises:
        CheckpointError: the network cannot be built.
        ValueError: the size or the precision is not possible.
        ExportError: the two results differ too much.
    """
    network = checkpoint.network()
    step = Step(network, precision)
    metadata = {
        **checkpoint.metadata,
        "package_version": stvae_ros.__version__,
        "weights": checkpoint.description,
    }
    width, height = size or check_size or checkpoint.processing_size
    network.check_size(height, width)
    with replaced(output) as file:
        write_onnx(step, file, size, metadata, opset)
        # One thread: waiting threads of ONNX Runtime would take cores from PyTorch.
        exported = OnnxNetwork(file, threads=1)
        found = difference(network, exported, moving_frames(network.in_channels, width, height), progress)
        found.check(precision)
    return found
