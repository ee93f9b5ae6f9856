"""Train and evaluate the systems of the paper, and write its tables beside ours.

A row that is done is not done again, and one that was interrupted goes on from its last checkpoint. Protocol: Moving
MNIST, 64x64, two digits, 10 frames seen, the 11th predicted, on sequences of digits never trained on.
"""

from __future__ import annotations

import argparse
import platform
import re
import time
from collections.abc import Mapping
from functools import cached_property
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
from stvae_ros.evaluation.paper.report import write_report
from stvae_ros.evaluation.paper.rows import RECIPES, ROWS, Result, Row
from stvae_ros.evaluation.paper.scores import BATCH_SIZE, CopyLast, NetworkPredictions, Scores, score
from stvae_ros.resources import share_directory
from stvae_ros.training.callbacks import Deadline
from stvae_ros.training.data import VALIDATION_SEED

_SIZE = 64
_CURVE_SEQUENCES = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--scale", default="cpu", choices=("smoke", "cpu", "gpu"), help="default: %(default)s")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help=f"default: all, which are {', '.join(ROWS)}")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["modern"], help="default: modern")
    parser.add_argument("--mnist", help="folder of MNIST's IDX files; without, scikit-learn's digits are used")
    parser.add_argument("--output", type=Path, help="folder of the runs and the report (default: runs/paper-SCALE)")
    parser.add_argument("--minutes", type=float, help="stop after this time; the same command goes on later")


def run(arguments: argparse.Namespace) -> int:
    """Train what is missing and write the report. Raises ValueError for unknown rows, DigitsError, OSError."""
    rows = arguments.rows or list(ROWS)
    unknown = [name for name in rows if name not in ROWS]
    if unknown:
        raise ValueError(f"no row is called {', '.join(unknown)}; there are: {', '.join(ROWS)}")
    if arguments.minutes is not None and arguments.minutes <= 0:
        raise ValueError(f"--minutes {arguments.minutes}: give a positive number")
    output: Path = arguments.output or Path("runs") / f"paper-{arguments.scale}"
    scales = yaml.safe_load((share_directory() / "config" / "paper" / "scales.yaml").read_text())
    reproduction = _Reproduction(arguments.scale, scales[arguments.scale], arguments.mnist, output)
    deadline = float("inf") if arguments.minutes is None else time.monotonic() + 60 * arguments.minutes
    reproduction.report()
    complete = all(reproduction.finish(ROWS[name], recipe, deadline) for recipe in arguments.recipes for name in rows)
    if not complete:
        reproduction.console.print("stopped in time; the same command goes on")
    return 0


class _Reproduction:
    """One scale, its folder and its validation sequences."""

    def __init__(self, name: str, scale: Mapping[str, Any], mnist: str | None, output: Path) -> None:
        self.name, self.scale, self.mnist, self.output = name, scale, mnist, output
        self.console = Console()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.digits = "scikit-learn's digits" if mnist is None else "MNIST"
        self.console.print(f"Moving MNIST made of {self.digits}, on {_machine(self.device)}")
        self.validation = MovingMnist(load_digits(mnist, "validation"), scale["validation"], seed=VALIDATION_SEED)

    def finish(self, row: Row, recipe: str, deadline: float) -> bool:
        """Train and evaluate a row as far as is missing; False if the time is over before."""
        folder = self.output / f"{row.name}.{recipe}"
        if (folder / "result.json").exists():
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
        self.report()
        return True

    def report(self) -> None:
        """Write the tables of all rows that are done. Raises ValueError if they were not made alike."""
        found = [self.output / f"{name}.{recipe}" / "result.json" for name in ROWS for recipe in RECIPES]
        results = [Result.load(path) for path in found if path.exists()]
        for result in results:
            if (result.scale, result.digits) != (self.name, self.digits):
                raise ValueError(
                    f"{self.output} holds {result.row} at scale {result.scale} on {result.digits}, "
                    f"not {self.name} on {self.digits}; give another --output"
                )
        if results:
            write_report(results, self._copies, self.output)
            self.console.print((self.output / "results.md").read_text(), markup=False, highlight=False, soft_wrap=True)

    @cached_property
    def _copies(self) -> dict[bool, Scores]:
        training = MovingMnist(load_digits(self.mnist, "train"), 500)
        return {binary: self._score(CopyLast(training, binary), binary) for binary in (True, False)}

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
        Result(
            row=row.name,
            recipe=recipe,
            scale=self.name,
            parameters=cost.parameters,
            gigaflops=cost.flops / 1e9,
            seconds=float(lines[-1].split(",")[0]),
            sequences=sequences,
            machine=_machine(self.device),
            digits=self.digits,
            scores=self._score(NetworkPredictions(network), row.binary),
        ).save(folder / "result.json")

    def _score(self, predict: CopyLast | NetworkPredictions, binary: bool) -> Scores:
        *_, last = track(
            score(predict, self.validation, binary, self.device),
            description="evaluating",
            total=-(-len(self.validation) // BATCH_SIZE),
            console=self.console,
            transient=True,
        )
        return last


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return f"{torch.get_num_threads()} cores of {found[1] if found else platform.machine()}"
