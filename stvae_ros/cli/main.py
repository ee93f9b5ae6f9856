"""Entry point of the `stvae` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import stvae_ros
from stvae_ros.cli import benchmark, demo, evaluate, models

_COMMANDS = {
    "demo": (demo, "show the node at work on a video or on the built-in scene"),
    "evaluate": (evaluate, "measure predictions on videos beside copying and classical flow"),
    "benchmark": (benchmark, "measure speed beside OpenCV"),
    "models": (models, "list networks and shipped weights"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Errors of input are one line on stderr and exit code 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["train"]:
        return _train(arguments[1:])
    parser = argparse.ArgumentParser(prog="stvae", description="Motion memory for robot cameras.")
    parser.add_argument("--version", action="version", version=f"stvae_ros {stvae_ros.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, text) in _COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=text, description=module.__doc__))
    commands.add_parser("train", help="train a network: see stvae train --help")
    parsed = parser.parse_args(arguments)
    try:
        return _COMMANDS[parsed.command][0].run(parsed)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"stvae {parsed.command}: {error}", file=sys.stderr)
        return 2


def _train(arguments: Sequence[str]) -> int:
    try:
        from stvae_ros.cli.train import train
    except ImportError as error:
        print(f"stvae train needs {error.name}: pip install -e '.[train]'", file=sys.stderr)
        return 2
    try:
        train(arguments)
    except (ValueError, OSError) as error:
        print(f"stvae train: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
