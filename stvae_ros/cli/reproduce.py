"""Train and evaluate the systems of the paper, and write its tables beside ours.

A row that is done is not trained again. A row that was interrupted continues from its last checkpoint. Protocol: Moving
MNIST, 64x64 pixels, two digits, 10 frames seen, the 11th predicted, on sequences of digits that no network was trained
on.
"""

from __future__ import annotations

import argparse
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.progress import track

from stvae_ros import zoo
from stvae_ros.cli.train import train
from stvae_ros.data.mnist import load_digits
from stvae_ros.data.moving_mnist import MovingMnist
from stvae_ros.evaluation.cost import step_cost
from stvae_ros.evaluation.paper.examples import make_examples
from stvae_ros.evaluation.paper.report import write_report
from stvae_ros.evaluation.paper.rows import RECIPES, ROWS, Result, Row
from stvae_ros.evaluation.paper.scores import BATCH_SIZE, CopyLast, NetworkPredictions, Scores, score
from stvae_ros.resources import share_directory
from stvae_ros.training.callbacks import Deadline
from stvae_ros.training.data import VALIDATION_SEED

_SIZE = 64
_CURVE_SEQUENCES = 128
_COPY_SEQUENCES = 500
"""Training sequences on which the probabilities of `CopyLast` are counted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--scale", default="cpu", choices=("smoke", "cpu", "gpu"), help="default: %(default)s")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help=f"default: all, which are {', '.join(ROWS)}")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["modern"], help="default: modern")
    parser.add_argument("--mnist", help="folder of MNIST's IDX files (default: scikit-learn's digits)")
    parser.add_argument("--output", type=Path, help="folder of the runs and the report (default: runs/paper-SCALE)")
    parser.add_argument("--minutes", type=float, help="stop after this time; the same command continues later")
    parser.add_argument("--report", action="store_true", help="only write the report of the rows that are done")


def run(arguments: argparse.Namespace) -> int:
    """Train the missing rows and write the report. Raises ValueError for unknown rows, DigitsError, OSError."""
    rows = arguments.rows or list(ROWS)
    unknown = [name for name in rows if name not in ROWS]
    if unknown:
        raise ValueError(f"no row is called {', '.join(unknown)}; known rows: {', '.join(ROWS)}")
    if arguments.minutes is not None and arguments.minutes <= 0:
        raise ValueError(f"--minutes {arguments.minutes}: give a positive number")
    output: Path = arguments.output or Path("runs") / f"paper-{arguments.scale}"
    if arguments.report:
        if not output.is_dir():
            raise ValueError(f"--output {output}: no such folder")
        print(write_report(output))
        return 0
    scales = yaml.safe_load((share_directory() / "config" / "paper" / "scales.yaml").read_text())
    reproduction = _Reproduction(arguments.scale, scales[arguments.scale], arguments.mnist, output)
    deadline = float("inf") if arguments.minutes is None else time.monotonic() + 60 * arguments.minutes
    complete = all(reproduction.finish(ROWS[name], recipe, deadline) for recipe in arguments.recipes for name in rows)
    if not complete:
        reproduction.console.print("stopped in time; the same command continues")
    return 0


class _Reproduction:
    """One scale, its folder and its validation sequences."""

    def __init__(self, name: str, scale: Mapping[str, Any], mnist: str | None, output: Path) -> None:
        self.name, self.scale, self.mnist, self.output = name, scale, mnist, output
        self.console = Console()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.source = "scikit-learn's digits" if mnist is None else "MNIST"
        self.console.print(f"Moving MNIST made of {self.source}, on {_machine(self.device)}")
        self.digits = load_digits(mnist, "validation")

    def finish(self, row: Row, recipe: str, deadline: float) -> bool:
        """Train and evaluate a row, as far as this is missing. Returns False if the time is over before."""
        folder = self.output / f"{row.name}.{recipe}"
        if (folder / "result.json").exists():
            result = Result.load(folder / "result.json")
            if (result.scale, result.digits) != (self.name, self.source):
                raise ValueError(
                    f"{self.output} holds {result.row} at scale {result.scale} on {result.digits}, "
                    f"not {self.name} on {self.source}; give another --output"
                )
            return True
        if time.monotonic() >= deadline:
            return False
        self.console.rule(f"{row.name}, {recipe} recipe")
        budget = self.scale[recipe]
        batch_size = self.scale["batch_size"][recipe]
        checks = self.scale["checks"]
        steps = checks * -(-budget.get(row.name, budget["rest"]) // (batch_size * checks))
        trainer = train(self._arguments(row, recipe, folder, steps, batch_size), [Deadline(deadline)])
        if trainer.global_step < steps:
            return False
        self._evaluate(row, recipe, folder, steps * batch_size)
        self.console.print(write_report(self.output), markup=False, highlight=False, soft_wrap=True)
        return True

    def _arguments(self, row: Row, recipe: str, folder: Path, steps: int, batch_size: int) -> list[str]:
        configs = ["protocol", row.config]
        if recipe == "modern":
            configs += ["modern", "modern-flow"] if row.has_flow else ["modern"]
        arguments = [f"--config={share_directory() / 'config' / 'paper' / f'{name}.yaml'}" for name in configs]
        arguments += [*row.options, f"--trainer.default_root_dir={folder}", f"--trainer.max_steps={steps}"]
        arguments += [
            f"--data.batch_size={batch_size}",
            f"--data.validation_count={min(self.scale['validation'], _CURVE_SEQUENCES)}",
            f"--trainer.val_check_interval={steps // self.scale['checks']}",
            "--trainer.limit_val_batches=1.0",
        ]
        arguments += self.scale.get("arguments", [])
        if self.mnist is not None:
            arguments.append(f"--data.mnist={self.mnist}")
        if recipe == "modern":
            arguments += [f"--lr_scheduler.total={steps}", f"--lr_scheduler.warmup={self.scale['warmup']}"]
            arguments.append("--model.options.encoder_gain=10")
        return arguments

    def _evaluate(self, row: Row, recipe: str, folder: Path, sequences: int) -> None:
        network = zoo.load(folder / "weights.safetensors", self.device)
        cost = step_cost(network, _SIZE, _SIZE)
        lines = (folder / "curve.csv").read_text().split()
        validation = MovingMnist(self.digits, self.scale["validation"], seed=VALIDATION_SEED, lines=row.lines)
        training = MovingMnist(load_digits(self.mnist, "train"), _COPY_SEQUENCES, lines=row.lines)
        make_examples(network, validation, row.binary, self.device).save(folder / "examples.npz")
        Result(
            row=row.name,
            recipe=recipe,
            scale=self.name,
            parameters=cost.parameters,
            gigaflops=cost.flops / 1e9,
            seconds=float(lines[-1].split(",")[0]),
            sequences=sequences,
            machine=_machine(self.device),
            digits=self.source,
            scores=self._score(NetworkPredictions(network), validation, row.binary),
            copy=self._score(CopyLast(training, row.binary), validation, row.binary),
        ).save(folder / "result.json")

    def _score(self, predict: CopyLast | NetworkPredictions, validation: MovingMnist, binary: bool) -> Scores:
        *_, last = track(
            score(predict, validation, binary, self.device),
            description="evaluating",
            total=-(-len(validation) // BATCH_SIZE),
            console=self.console,
            transient=True,
        )
        return last


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return f"{torch.get_num_threads()} cores of {found[1] if found else platform.machine()}"
