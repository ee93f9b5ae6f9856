"""Draw the predictions of systems that `stvae reproduce` has trained, and their E and D filters."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from stvae_ros import zoo
from stvae_ros.evaluation.paper.examples import Examples
from stvae_ros.visualization.gallery import Example, draw_filters, draw_predictions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("rows", nargs="+", type=Path, help="folders of one row each, all binary or all grey")
    parser.add_argument("--output", type=Path, default=Path("gallery"), help="default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Write predictions.png, and filters.png for the rows whose weights are there.

    Raises ValueError for folders without examples or of different sequences, CheckpointError for damaged weights.
    """
    examples = {folder.name: Examples.load(folder / "examples.npz") for folder in arguments.rows}
    first_name, first = next(iter(examples.items()))
    for name, other in examples.items():
        if not np.array_equal(first.truth, other.truth):
            raise ValueError(f"{name} and {first_name} show different sequences: draw binary and grey rows apart")
    draw_predictions(
        [_example(examples, index) for index in range(len(first.truth))], arguments.output / "predictions.png"
    )
    banks = {}
    for folder in arguments.rows:
        if (folder / "weights.safetensors").is_file():
            network = zoo.load(folder / "weights.safetensors")
            for title, part in (("E", "encoder"), ("D", "decoder")):
                banks[f"{folder.name}: {title}"] = _filters(network.get_submodule(part))
    if banks:
        draw_filters(banks, arguments.output / "filters.png")
    print(f"wrote {arguments.output}/predictions.png{' and filters.png' if banks else ''}")
    return 0


def _example(rows: dict[str, Examples], index: int) -> Example:
    first = next(iter(rows.values()))
    predictions = {
        name: (_unit(row.predicted[index]), row.motion[index].astype(np.float32) if row.motion.size else None)
        for name, row in rows.items()
    }
    seen = [_unit(image) for image in first.seen[index]]
    true_motion = first.true_motion[index].astype(np.float32)
    return Example(f"sequence {index}", seen, _unit(first.truth[index]), true_motion, predictions)


def _unit(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.divide(image, 255, dtype=np.float32)


def _filters(part: nn.Module) -> NDArray[np.float32]:
    """The filters of E that see the last frame, or the filters of D that draw the frame."""
    convolutions = [layer.weight.detach() for layer in part.modules() if isinstance(layer, nn.Conv2d)]
    weight = convolutions[-1][0] if convolutions[-1].shape[0] == 1 else convolutions[0][:, -1]
    return weight.numpy()
