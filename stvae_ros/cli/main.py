"""Entry point of the `stvae` command."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import stvae_ros

# Words of the command -> its help text, the extras of setup.py that it needs, and its module in `cli`.
# Only the module of the command given is imported.
_COMMANDS = {
    "demo": ("run the node on a video or on the built-in 3-D scene", "ros", "demo"),
    "evaluate": ("measure predictions on videos, beside copying and classical flow", "eval", "evaluate.frames"),
    "evaluate bag": ("measure on the cameras of rosbags, with a report", "eval,bags", "evaluate.bag"),
    "evaluate labels": ("measure label propagation", "eval", "evaluate.labels"),
    "evaluate boxes": ("measure carried boxes of a detector", "eval", "evaluate.boxes"),
    "evaluate events": ("measure networks that see events", "eval,events", "evaluate.events"),
    "evaluate mask": ("measure motion masks", "eval", "evaluate.mask"),
    "bag make": ("write a rosbag of a video, of images or of a scene with its truth", "bags", "bag_make"),
    "benchmark": ("measure speed, beside OpenCV", "ros", "benchmark.network"),
    "benchmark backends": ("measure the speed of each backend", "eval,onnx", "benchmark.backends"),
    "benchmark cameras": ("measure a node with several cameras", "ros", "benchmark.cameras"),
    "benchmark outputs": ("measure the time of each output topic", "eval", "benchmark.outputs"),
    "export": ("write one step of a network as an ONNX file", "onnx", "export"),
    "models": ("list shipped checkpoints and networks", "eval", "models"),
    "train": ("train a network", "train", "train"),
    "reproduce": ("train the systems of the paper and write its tables beside ours", "train,eval", "reproduce"),
    "rollout": ("let trained rows predict ten frames from ten, as in OpenSTL", "train,eval", "rollout"),
    "gallery": ("draw predictions and filters of trained systems", "train,eval", "gallery"),
    "ablation": ("train stvae-rt without one of its parts at a time, and measure it", "train,eval", "ablation"),
    "scene": ("draw a 3-D scene with its truth", "eval", "scene"),
    "warping": ("measure the sampler alone, with ground-truth flow", "eval", "warping"),
}
_GROUPS = sorted({name.split(" ")[0] for name in _COMMANDS} - _COMMANDS.keys())
"""First words that are no command by themselves."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 2 for errors of input, which print one line on stderr, and 130 after SIGINT.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if " ".join(arguments[:2]) in _COMMANDS:  # Two words name one command.
        arguments = [" ".join(arguments[:2]), *arguments[2:]]
    command = arguments[0] if arguments and arguments[0] in _COMMANDS else None
    shown = f"stvae {command or ''}".rstrip()
    module = None
    if command is not None:
        _, extras, name = _COMMANDS[command]
        try:
            module = import_module(f"stvae_ros.cli.{name}")
        except ImportError as error:
            if not {"-h", "--help"} & set(arguments):
                print(f"{shown} needs {error.name}: pip install -e '.[{extras}]'", file=sys.stderr)
                return 2
    try:
        if command == "train" and module is not None:
            module.train(arguments[1:])  # Lightning has a parser of its own.
            return 0
        parser = make_parser(command, module)
        parsed = parser.parse_args(arguments)
        parsed.command_line = " ".join([shown, *map(shlex.quote, arguments[1:])])
        if module is None:
            known = [name.removeprefix(f"{parsed.command} ") for name in _COMMANDS if name.startswith(parsed.command)]
            group: argparse.ArgumentParser = parsed.group
            group.error(f"give a command of stvae {parsed.command}: {', '.join(known)}")
        return int(module.run(parsed))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"{shown}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{shown}: interrupted", file=sys.stderr)
        return 130


def make_parser(command: str | None, module: ModuleType | None) -> argparse.ArgumentParser:
    """Make the parser of the command line.

    Args:
        command: the command whose options are added; `stvae train` has a parser of its own.
        module: of the command; None if one of its extras is missing. Then only its help text is known.
    """
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="stvae",
        usage="stvae [-h] [--version] command ...",
        description="Motion memory for robot cameras.",
        epilog="\n".join(_list()),
        formatter_class=formatter,
    )
    parser.add_argument("--version", action="version", version=f"stvae_ros {stvae_ros.__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="command", prog="stvae", help=argparse.SUPPRESS
    )
    for name, (text, extras, _) in _COMMANDS.items():
        notes = _list(name)
        if name == command and module is None:
            notes.append(f"Its options need a missing package: pip install -e '.[{extras}]'")
        description = text if module is None or name != command else module.__doc__
        subparser = commands.add_parser(
            name, description=description, epilog="\n".join(notes), formatter_class=formatter
        )
        if name == command and module is not None:
            module.add_arguments(subparser)
    for group in _GROUPS:
        subparser = commands.add_parser(
            group, usage=f"stvae {group} [-h] command ...", epilog="\n".join(_list(group)), formatter_class=formatter
        )
        subparser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
        subparser.set_defaults(group=subparser)
    return parser


def _list(group: str | None = None) -> list[str]:
    """The commands that begin with a word, or all, a line each."""
    begin = "" if group is None else f"{group} "
    found = [f"  {name:<20}{text}" for name, (text, *_) in _COMMANDS.items() if name.startswith(begin)]
    return [f"commands of stvae {group}:" if group else "commands:", *found] if found else []


if __name__ == "__main__":
    raise SystemExit(main())
