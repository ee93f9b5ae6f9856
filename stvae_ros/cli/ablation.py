"""Train stvae-rt without one of its parts at a time, and measure what each is worth.

What is done is not done again, and what was interrupted goes on. Every variant is trained alike.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from stvae_ros.cli.evaluate import shown_frames, summary
from stvae_ros.cli.train import train
from stvae_ros.evaluation.replay import Score, evaluate, ours, references
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
    parser.add_argument("--frames", type=int, default=60, help="frames of each source (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all of them")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"), help="default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Train what is missing and print the table. Raises ValueError for options, MediaError for clips."""
    if arguments.steps < 1 or arguments.frames <= _WARM_UP + 1:
        raise ValueError(f"give --steps of at least 1 and --frames of at least {_WARM_UP + 2}")
    recipe = share_directory() / "config" / "train" / f"{arguments.model}.yaml"
    if not recipe.is_file():
        raise ValueError(f"--model {arguments.model}: {recipe} does not exist")
    weights = {}
    for name in arguments.variants:
        folder = arguments.output / f"{arguments.model}-{arguments.steps}" / name.replace(" ", "-")
        weights[name] = folder / "weights.safetensors"
        if not weights[name].is_file():
            Console().rule(name)
            train(
                [
                    f"--config={recipe}",
                    f"--data.root={arguments.root}",
                    f"--trainer.max_steps={arguments.steps}",
                    f"--lr_scheduler.total={arguments.steps}",
                    f"--trainer.default_root_dir={folder}",
                    *VARIANTS[name],
                ]
            )
    results = {source: _evaluate(source, weights, arguments) for source in arguments.sources}
    Console().rule(f"{arguments.model}, {arguments.steps} steps each; after {_WARM_UP} frames")
    Console().print(*summary(results), sep="\n")
    return 0


def _evaluate(source: str, weights: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Score]:
    networks = {name: ours(StreamingPredictor.from_weights(path)) for name, path in weights.items()}
    frames = shown_frames(source, tuple(arguments.size), arguments.frames)
    return evaluate(frames, {**networks, **references()}, _WARM_UP)
