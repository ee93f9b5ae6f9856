"""Let trained rows predict ten frames from ten: the protocol of OpenSTL's Moving MNIST benchmark."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import track
from torch.utils.data import Dataset

from stvae_ros import zoo
from stvae_ros.data.mnist import load_digits
from stvae_ros.data.moving_mnist import MovingMnistFile
from stvae_ros.data.sequences import Item
from stvae_ros.evaluation.paper.rollouts import PREDICTED, SEEN, generated_sequences, rollout_errors
from stvae_ros.evaluation.paper.rows import ROWS
from stvae_ros.runtime.device import resolve_device
from stvae_ros.training.data import VALIDATION_SEED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("rows", nargs="+", type=Path, help="folders of one row each, as `stvae reproduce` writes them")
    sources = parser.add_mutually_exclusive_group()
    sources.add_argument("--test-file", help="the public mnist_test_seq.npy")
    sources.add_argument("--mnist", help="folder of MNIST's IDX files, to make sequences by the rules of that file")
    parser.add_argument("--sequences", type=int, default=1000, help="number of sequences made (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Write ``rollout.json`` into each folder. Raises CheckpointError, DigitsError and ValueError."""
    if arguments.sequences < 1:
        raise ValueError(f"--sequences {arguments.sequences}: give at least 1")
    device, console = resolve_device(arguments.device), Console()
    for folder in arguments.rows:
        row = ROWS.get(folder.name.partition(".")[0])
        if row is None:
            raise ValueError(f"{folder}: not the folder of a row; its name begins with one of {', '.join(ROWS)}")
        network = zoo.load(folder / "weights.safetensors", device)
        data: Dataset[Item]
        if arguments.test_file is not None:
            data, source = MovingMnistFile(arguments.test_file, SEEN + PREDICTED - 1, row.binary), "mnist_test_seq.npy"
        else:
            digits = load_digits(arguments.mnist, "validation")
            data = generated_sequences(digits, arguments.sequences, VALIDATION_SEED)
            source = f"sequences made of {'scikit-learn' if arguments.mnist is None else 'MNIST test'} digits"
        results = rollout_errors(network, data, row.binary, source, device)
        *_, found = track(results, description=folder.name, console=console, transient=True)
        found.save(folder / "rollout.json")
        mean = sum(found.mse) / PREDICTED
        console.print(
            f"{folder.name}: squared error {mean:.1f} a frame, {found.mse[0]:.1f} in the first, "
            f"SSIM {sum(found.ssim) / PREDICTED:.3f}; {found.sequences} {source}",
            soft_wrap=True,
        )
    return 0
