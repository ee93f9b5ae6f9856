"""Write one step of a network, with its memory as inputs and outputs, as an ONNX file."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from stvae_ros.checkpoint import Checkpoint, find
from stvae_ros.runtime.export import export_onnx
from stvae_ros.runtime.export_check import FRAMES, TOLERANCES
from stvae_ros.runtime.exported_step import PRECISIONS
from stvae_ros.runtime.onnx_file import OPSETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("weights", help="name of shipped weights or path of a .safetensors file")
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("WIDTH", "HEIGHT"),
        help="of the frames (default: what the weights are made for)",
    )
    sizes.add_argument("--dynamic", action="store_true", help="take frames of any size")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="of the convolutions (default: %(default)s)"
    )
    parser.add_argument("--opset", type=int, choices=OPSETS, default=OPSETS[0], help="of onnx (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Write the file and say how far it is from PyTorch. Raises ValueError, OSError and ExportError."""
    checkpoint = Checkpoint.open(find(arguments.weights))
    width, height = arguments.size or checkpoint.processing_size
    size = None if arguments.dynamic else (width, height)
    if arguments.output.suffix != ".onnx":
        raise ValueError(f"--output {arguments.output}: the name of the file must end in .onnx")
    with Progress(transient=True) as progress:
        task = progress.add_task(f"writing, then comparing with PyTorch on {FRAMES} frames", total=FRAMES)

        def advance() -> None:
            progress.advance(task)

        found = export_onnx(
            checkpoint, arguments.output, size, arguments.precision, arguments.opset, (width, height), advance
        )
    frame, flow = TOLERANCES[arguments.precision]
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{arguments.output}: {FRAMES} frames of {width}x{height} agree with PyTorch in fp32")
    console.print(f"difference: {found}")
    console.print(f"allowed in {arguments.precision}: frame {frame:g}, flow {flow:g} px")
    return 0
