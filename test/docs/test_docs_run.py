"""Each `stvae ...`, `make ...` and `torchrun ...` of the documentation is run, in the words of its page.

The commands of a page are run one after the other in a folder that holds what belongs to the reader (`belongings.py`).
How what is run differs from the page stands in two tables: words for which others are given, and, by the beginning of a
command, options that are appended to make it small, or the test that runs it at length.

What differs from others in values alone is not run again: on one page if another command has all its options, within a
sentence if one of any page has. A subcommand in a sentence without what it needs, as `stvae evaluate bag`, is a name.
"""

import ast
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import pytest
from belongings import lay_out
from checkout import make
from documents import ROOT, Command, commands
from robot import new_domain

from stvae_ros.cli.main import _COMMANDS, main, make_parser

if any(find_spec(name) is None for name in ("lightning", "rosbags", "mcap", "torchmetrics", "onnxruntime", "sklearn")):
    pytestmark = pytest.mark.skip(reason="needs all extras: pip install '.[train,eval,bags,events,onnx]'")

PROGRAMS = ("stvae ", "make ", "torchrun ")
INSTEAD = {
    "synthetic:7 my_bag": "synthetic:7 my_other_bag",  # The page makes my_bag in one of two ways.
    "events:test_events_1": "events:recording.txt",
    "events:test_events_2": "events:recording.txt",
    "tonic_sample.aedat4": "recording.txt",
    "export stvae-rt-m": "export small.safetensors",
    "--model stvae-rt-m runs/mine/weights.safetensors": "--model small.safetensors runs/mine/weights.safetensors",
    "[--rows ROW...]": "--rows ae-conv",
    "train ...": "train --config config/paper/protocol.yaml --config config/paper/ae-conv.yaml",
    "--model ...": "--model stvae-rt-m stvae-rt-s stvae-rt-l ae-convlstm-flow",
}
"""Words of a page, and what is given in their place."""

_TRAIN = "--trainer.max_steps 1 --trainer.accelerator cpu --trainer.precision 32 --data.batch_size 1 "
_SHORT = _TRAIN + "--data.steps_per_epoch 1 --trainer.check_val_every_n_epoch 1 --data.length 2 "
_SEQUENCES = _SHORT + "--model.burn_in 0 --data.validation_count 1 "
_BAG = "--start 0.1 --duration 0.4 --processing-size 64 48 --threads 1 "
_SMALL = "--model small.safetensors --size 64 48 "
_DEMO = "dds/test_publisher_and_demo.py::test_demo_"
RUN = {
    "stvae bag make synthetic:7": "--frames 60 --size 64 48",
    "stvae bag make scene3d:7": "--frames 10 --size 64 48",
    "stvae train --config config/train": _SEQUENCES + "--data.size 48",
    "stvae train --config config/train/bags.yaml": _SEQUENCES + "--model.network stvae-rt-s --model.weights stvae-rt-s "
    "--data.size [32,48] --data.max_stride 1 --data.gap 0.1 --data.validation_share 0.3",
    "stvae train --config config/train/segnet": _SHORT + "--data.size [48,64] --model.segmenter segnet-basic",
    "stvae train --config config/train/segnet-flow-camvid.yaml --data": _SHORT
    + "--data.size [48,64] --model.options '{base: segnet-basic}'",
    "stvae train --config config/paper": _TRAIN + "--data.length 2 --data.validation_count 1",
    "stvae train ...": _TRAIN + "--data.validation_count 1",
    "stvae evaluate": "--frames 10 --precision fp32 " + _SMALL,
    "stvae evaluate bag": _BAG,
    "stvae evaluate bag long": _BAG + "--every 2 --model small.safetensors",
    "stvae evaluate events": "--frames 5",
    "stvae evaluate boxes": "--frames 6 --intervals 2 --late 0 1 " + _SMALL,
    "stvae evaluate labels": "--intervals 1 3 " + _SMALL,
    "stvae evaluate mask": "--frames 5 --model small.safetensors",
    "stvae benchmark": "--repeats 1 --skip-node --precision fp32 " + _SMALL,
    "stvae benchmark outputs": "--frames 2 " + _SMALL,
    "stvae reproduce": "--scale smoke --recipes modern --rows ae-conv",
    "make demo INPUT=events": "ARGS='--frames 6 --rate 6'",
    # Other tests run these at length.
    "make docs": "docs/test_docs.py::test_pages_for_a_browser",
    "make bench": "dds/test_benchmark.py::test_table_of_the_node",
    "make demo": _DEMO + "on_the_built_in_scene_measures_flow",
    "make demo INPUT=events VIDEO": _DEMO + "on_events",
    "make demo VIDEO": _DEMO + "on_a_file",
    "stvae ablation": "cli/test_ablation.py::test_variants_are_trained_once_and_compared",
    "stvae benchmark backends": "runtime/test_onnx_runtime.py::test_every_way_is_compared",
    "stvae benchmark cameras": "dds/test_benchmark.py::test_table_of_cameras",
    "stvae demo": _DEMO + "on_the_built_in_scene_measures_flow",
    "stvae gallery": "evaluation/paper/test_reproduce.py::test_tables_curves_gallery_and_rollouts_of_two_rows",
    "stvae models": "cli/test_main.py::test_models",
    "stvae rollout": "evaluation/paper/test_reproduce.py::test_tables_curves_gallery_and_rollouts_of_two_rows",
    "torchrun": "training/test_distributed.py::test_two_machines_train_like_one_with_twice_the_batch",
}
"""Beginning of a command, the longest that fits: what is appended, or the test that runs it."""
NOT_RUN = ("make lint", "make test")
"""What `.ci/run` is."""
NOT_HERE = {"ray", "hdf5plugin", "numpy<2"}
"""What the pages name for pip and `make test` does not install."""


def subcommand(command: Command) -> str:
    """`stvae evaluate bag`, `make demo`, `torchrun`."""
    program, *words = command.text.split()
    if program == "torchrun":
        return program
    return " ".join([program, *words[: 2 if " ".join(words[:2]) in _COMMANDS else 1]])


def options(command: Command) -> set[str]:
    """Options and kinds of sources (`synthetic:`); all recipes together, and all variables of make."""
    words = [word.strip("[]") for word in shlex.split(command.text)]
    found = {match[0] for word in words if (match := re.match(r"--[\w.-]+|[a-z]\w*:", word))}
    return found | {" ".join(match[0] for word in words if (match := re.match(r".*\.yaml$|[A-Z]+=", word)))}


def is_name(command: Command) -> bool:
    """Whether it is a subcommand of stvae alone, which needs more."""
    name = " ".join(command.text.split()[1:])
    if name == "train" or name not in _COMMANDS:
        return name == "train"
    try:
        with redirect_stderr(StringIO()):
            make_parser(name, import_module(f"stvae_ros.cli.{_COMMANDS[name][2]}")).parse_args([name])
    except SystemExit:
        return True
    return False


def is_covered(command: Command, others: list[Command]) -> bool:
    """Whether one of ``others`` has all its options; on the same page, if it is more than a part of a sentence."""
    alike = [other for other in others if subcommand(other) == subcommand(command)]
    near = [other for other in alike if other.page == command.page or not command.block]
    makes_bag = command.block and subcommand(command) == "stvae bag make"  # which those after it read
    return not makes_bag and any(options(command) <= options(other) for other in near)


@cache
def to_run() -> list[Command]:
    """What is left of the commands, those in sentences last."""
    kept = [
        command
        for command in sorted(commands(), key=lambda command: not command.block)
        if command.text.startswith(PROGRAMS) and not command.text.startswith(NOT_RUN)
    ]
    for command in reversed(kept):
        others = [other for other in kept if other is not command]
        if is_name(command) or is_covered(command, others):
            kept = others
    return kept


def row(command: Command) -> str:
    """Of `RUN`, "" without one: the command runs as it is."""
    return max((beginning for beginning in RUN if command.text.startswith(beginning)), key=len, default="")


def made_small(command: Command) -> str:
    """What is run."""
    text = command.text
    for word, given in INSTEAD.items():
        text = re.sub(rf"(?<!\S){re.escape(word)}(?!\S)", given, text)
    return f"{text} {RUN.get(row(command), '')}"


@pytest.fixture(scope="session")
def belongings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out, to be copied."""
    folder = tmp_path_factory.mktemp("belongings")
    lay_out(folder)
    return folder


def run(command: str, folder: Path) -> None:
    """Run a command in this process, make in one of its own, and require that it ends well."""
    if command.startswith("make "):
        done = make(folder / "checkout", command, ROS_DOMAIN_ID=str(new_domain()))
        assert done.returncode == 0, done.stdout + done.stderr
        return
    arguments = shlex.split(command)[1:]
    try:
        status = main(arguments)
    except SystemExit as ended:  # of --help
        status = ended.code
    assert status == 0, command
    if "--output" in arguments:
        output = Path(arguments[arguments.index("--output") + 1])
        assert output.is_file() or any(output.iterdir()), f"{command}: {output} is empty"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", sorted({c.page for c in commands() if c.text.startswith(PROGRAMS)}))
def test_commands_run(page: str, belongings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["stvae"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(shutil.copytree(belongings, tmp_path / "here"))
    for command in to_run():
        if command.page == page and "test_" not in RUN.get(row(command), ""):
            run(made_small(command), tmp_path)


def test_tables_are_of_use() -> None:
    assert {row(command) for command in to_run()} - {""} == RUN.keys()
    text = "\n".join(command.text for command in to_run())
    assert not [word for word in INSTEAD if not re.search(rf"(?<!\S){re.escape(word)}(?!\S)", text)]
    for beginning, place in RUN.items():
        if "test_" in place:
            module, _, name = place.partition("::")
            functions = ast.parse((ROOT / "test" / module).read_text()).body
            (test,) = (node for node in functions if isinstance(node, ast.FunctionDef) and node.name == name)
            said = " ".join(str(node.value) for node in ast.walk(test) if isinstance(node, ast.Constant))
            assert beginning.split(" ", 1)[-1] in said, f"{place} does not run {beginning}"
    assert set((ROOT / ".ci" / "run").read_text().splitlines()) >= set(NOT_RUN)


@pytest.mark.skipif(not (Path(sys.prefix) / ".test").exists(), reason="needs the virtual environment of make test")
def test_pip_finds_what_is_to_be_installed() -> None:
    """All that is here anyway, without asking the index."""
    installs = [shlex.split(command.text) for command in commands() if command.text.startswith("pip install")]
    wanted = {word for words in installs if "--index-url" not in words for word in words[2:] if word != "-e"}
    extras = {extra for word in wanted if (found := re.search(r"\[(.*)\]", word)) for extra in found[1].split(",")}
    others = {word for word in wanted if "[" not in word} - NOT_HERE
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-build-isolation", *others]
    command += ["-c", "config/constraints.txt", "-e", f".[{','.join(extras)}]"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"train", "eval", "bags", "events", "onnx"} <= extras and {"torch", "safetensors"} <= others
