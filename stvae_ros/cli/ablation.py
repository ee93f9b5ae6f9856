"""Train stvae-rt without one of its parts at a time, and measure what each part is worth.

Finished trainings are kept, and interrupted ones are continued. All variants are trained alike.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import track

from stvae_ros.cli import tables
from stvae_ros.cli.evaluate.frames import read_samples, summary
from stvae_ros.evaluation.core.methods import Network, references
from stvae_ros.evaluation.core.scores import Score
from stvae_ros.evaluation.next_frame import evaluate
from stvae_ros.resources import share_directory
from stvae_ros.streaming import StreamingPredictor

VARIANTS: dict[str, list[str]] = {
    "all": [],
    "no memory": ["--model.options.memory=false"],
    "no correlation": ["--model.options.correlation=false"],
    "no refinement": ["--model.options.refinement=false"],
    "no blend": ["--model.options.blend=false"],
    "no adaptation": ["--model.options.adaptation=false"],
    "real clips alone": ["--data.init_args.synthetic_share=0", "--data.init_args.photo_share=0"],
    "synthetic scenes alone": ["--data.init_args.synthetic_share=0.2", "--data.init_args.photo_share=0.8"],
}
"""The arguments of the trainer for each variant.

Without memory the network sees two frames only. Real clips have no true flow to learn from. Synthetic scenes include
those made of photographs.
"""
_WARM_UP = 10
"""Forecasts made from so many first frames of a source do not count, so that the memory's share shows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("sources", nargs="+", help="videos, folders of images or synthetic:SEED to measure on")
    parser.add_argument("--root", required=True, help="folder of the training clips that the recipe names")
    parser.add_argument("--model", default="stvae-rt-m", help="network whose recipe is used (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="training steps of each variant (default: %(default)s)")
    parser.add_argument("--crop", type=int, default=128, help="side of the crops in pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="crops per step (default: %(default)s)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="trainings at a time, each needs 4 GB (default: one per core)",
    )
    parser.add_argument("--frames", type=int, default=60, help="frames of each source (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(320, 240),
        metavar=("WIDTH", "HEIGHT"),
        help="scale the frames to this size (default: 320 240)",
    )
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="variants to train (default: all)"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"), help="folder (default: %(default)s)")
    tables.add_format_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train the variants that are missing and print the tables.

    Raises:
        ValueError: an option cannot be used, or a training failed.
        MediaError: a source cannot be read.
    """
    if min(arguments.steps, arguments.batch, arguments.jobs) < 1 or arguments.frames <= _WARM_UP + 1:
        raise ValueError(f"give --steps, --batch and --jobs of at least 1, and --frames of at least {_WARM_UP + 2}")
    recipe = share_directory() / "config" / "train" / f"{arguments.model}.yaml"
    if not recipe.is_file():
        raise ValueError(f"--model {arguments.model}: {recipe} does not exist")
    common = [
        f"--config={recipe}",
        f"--data.root={arguments.root}",
        f"--data.init_args.size={arguments.crop}",
        f"--data.init_args.batch_size={arguments.batch}",
        f"--trainer.max_steps={arguments.steps}",
        f"--lr_scheduler.total={arguments.steps}",
    ]
    run = f"{arguments.model}-{arguments.steps}x{arguments.batch}x{arguments.crop}"
    folders = {name: arguments.output / run / name.replace(" ", "-") for name in arguments.variants}
    weights = {name: folder / "weights.safetensors" for name, folder in folders.items()}
    missing = {folders[name]: common + VARIANTS[name] for name, path in weights.items() if not path.is_file()}
    if missing:
        _train(missing, arguments.jobs)
    results = {source: _evaluate(source, weights, arguments) for source in arguments.sources}
    trained = f"{arguments.model}, {arguments.steps} steps of {arguments.batch} crops each; after {_WARM_UP} frames"
    Console(stderr=True).print(trained, highlight=False, soft_wrap=True)
    tables.show(summary(results), arguments.format)
    return 0


def _train(runs: Mapping[Path, list[str]], jobs: int) -> None:
    """Run trainings, some at a time, each with its share of the cores.

    Several short trainings at a time take less time than the same trainings in sequence with all cores each.

    Args:
        runs: arguments of each training, by its folder.
        jobs: trainings at a time.

    Raises:
        ValueError: a training failed.
    """
    environment = {"OMP_NUM_THREADS": str(max(len(os.sched_getaffinity(0)) // jobs, 1)), **os.environ}
    command = [sys.executable, "-m", "stvae_ros.cli.main", "train"]

    def train(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "train.log"
        with log.open("ab") as output:
            arguments = [*command, *runs[folder], f"--trainer.default_root_dir={folder}"]
            done = subprocess.run(arguments, env=environment, stdout=output, stderr=output, check=False)
        if done.returncode != 0 or not (folder / "weights.safetensors").is_file():
            raise ValueError(f"training of {folder.name!r} did not finish: see {log}")

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for _ in track(pool.map(train, runs), "training the variants", total=len(runs)):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _evaluate(source: str, weights: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Score]:
    networks = {name: Network(StreamingPredictor.from_weights(path)) for name, path in weights.items()}
    samples = read_samples(source, tuple(arguments.size), arguments.frames)
    return evaluate(samples, {**networks, **references()}, _WARM_UP)
