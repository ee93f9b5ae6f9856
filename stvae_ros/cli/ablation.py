"""Train stvae-rt without one of its parts at a time, and measure what each is worth.

What is done is not done again, and what was interrupted goes on. Every variant is trained alike.
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

from stvae_ros.cli.evaluate.frames import shown_frames, summary
from stvae_ros.evaluation.next_frame import Score, evaluate, ours, references
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
"""What is left out, and the arguments of the trainer that do it. Without memory the network sees two frames alone; on
real clips there is no true flow to learn from; synthetic scenes include those made of photographs."""
_WARM_UP = 10
"""Frames of a stream that do not count, so that memories are full."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("sources", nargs="+", help="videos, folders of images or synthetic:SEED to measure on")
    parser.add_argument("--root", required=True, help="folder of the training clips that the recipe names")
    parser.add_argument("--model", default="stvae-rt-m", help="whose recipe to take (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="of training, each variant (default: %(default)s)")
    parser.add_argument("--crop", type=int, default=128, help="side of the crops in pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="crops a step (default: %(default)s)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="trainings at a time, of 4 GB each (default: one a core)",
    )
    parser.add_argument("--frames", type=int, default=60, help="frames of each source (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all of them")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"), help="default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Train what is missing and print the table. Raises ValueError for options, MediaError for clips."""
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
    Console().rule(
        f"{arguments.model}, {arguments.steps} steps of {arguments.batch} crops each; after {_WARM_UP} frames"
    )
    Console().print(*summary(results), sep="\n")
    return 0


def _train(runs: Mapping[Path, list[str]], jobs: int) -> None:
    """Run trainings, given by folder and arguments, some at a time, each with its share of the cores.

    Several short trainings side by side take less time than one after the other with all cores each. Raises ValueError
    if one fails.
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
            for _ in track(pool.map(train, runs), "training, variant by variant", total=len(runs)):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _evaluate(source: str, weights: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Score]:
    networks = {name: ours(StreamingPredictor.from_weights(path)) for name, path in weights.items()}
    frames = shown_frames(source, tuple(arguments.size), arguments.frames)
    return evaluate(frames, {**networks, **references()}, _WARM_UP)
