"""Draw what systems trained by `stvae reproduce` predict on validation sequences, and their E and D filters."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stvae_ros import zoo
from stvae_ros.data.mnist import load_digits
from stvae_ros.data.moving_mnist import MovingMnist, render
from stvae_ros.nn.interface import FramePredictor
from stvae_ros.training.data import VALIDATION_SEED
from stvae_ros.visualization.gallery import Example, draw_filters, draw_predictions

_SIZE = 64
_SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("weights", nargs="+", type=Path, help="folders of one row each, or .safetensors files")
    parser.add_argument("--sequences", nargs="+", type=int, default=[0, 1, 2], help="of the validation set")
    parser.add_argument("--mnist", help="folder of MNIST's IDX files; without, scikit-learn's digits are used")
    parser.add_argument("--grey", action="store_true", help="frames of grey digits instead of binary ones")
    parser.add_argument("--output", type=Path, default=Path("gallery"), help="default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Write predictions.png and filters.png. Raises CheckpointError, DigitsError, ValueError."""
    if min(arguments.sequences) < 0:
        raise ValueError(f"--sequences {min(arguments.sequences)}: they count from 0")
    networks = {}
    for path in arguments.weights:
        file = path / "weights.safetensors" if path.is_dir() else path
        networks[path.name if path.is_dir() else path.stem] = zoo.load(file)
    count = max(arguments.sequences) + 1
    data = MovingMnist(load_digits(arguments.mnist, "validation"), count, seed=VALIDATION_SEED)
    examples = [_example(data, index, not arguments.grey, networks) for index in arguments.sequences]
    draw_predictions(examples, arguments.output / "predictions.png")
    banks = {}
    for name, network in networks.items():
        for part in ("encoder", "decoder"):
            banks[f"{name}: {'E' if part == 'encoder' else 'D'}"] = _filters(network.get_submodule(part))
    draw_filters(banks, arguments.output / "filters.png")
    print(f"wrote {arguments.output}/predictions.png and filters.png")
    return 0


@torch.inference_mode()
def _example(data: MovingMnist, index: int, binary: bool, networks: dict[str, FramePredictor]) -> Example:
    item = render({key: value[None] for key, value in data[index].items()}, _SIZE, binary)
    frames = item["frames"]
    predictions: dict[str, tuple[NDArray[np.float32], NDArray[np.float32] | None]] = {}
    for name, network in networks.items():
        prediction = network(frames[:, :-1])[0][-1]
        motion = None if prediction.flow is None else _motion(prediction.flow[0])
        predictions[name] = (prediction.frame[0, 0].numpy(), motion)
    seen = [frame.numpy() for frame in frames[0, -1 - _SHOWN : -1, 0]]
    true_motion = _motion(item["flow"][0, -1])
    return Example(f"sequence {index}", seen, frames[0, -1, 0].numpy(), true_motion, predictions)


def _motion(backward: Tensor) -> NDArray[np.float32]:
    """Backward flow points to where a pixel came from; negated, it shows where things move."""
    return (-backward).permute(1, 2, 0).numpy()


def _filters(part: nn.Module) -> NDArray[np.float32]:
    """The filters of E that see the frame (its first, of the last frame), of D those that make it."""
    convolutions = [layer.weight.detach() for layer in part.modules() if isinstance(layer, nn.Conv2d)]
    weight = convolutions[-1][0] if convolutions[-1].shape[0] == 1 else convolutions[0][:, -1]
    return weight.numpy()
