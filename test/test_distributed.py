"""Training on several machines gives the weights that one process gets from the larger batch."""

import shlex
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from documents import commands
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config" / "paper"

pytestmark = pytest.mark.skipif(find_spec("lightning") is None, reason="needs Lightning: pip install '.[train]'")


def train(folder: Path, batch_size: int, command: str, machines: int = 1) -> dict[str, torch.Tensor]:
    """Three steps of a small network by a command, given once for each machine; returns its weights."""
    words = [
        sys.executable, "-m", *shlex.split(command), "--config", CONFIG / "conv-2enc-1lstm.yaml",
        "--model.options.encoder", "[4, 4]", "--model.options.memory", "[4]", "--model.options.encoder_gain", "10",
        "--data.length", "3", "--data.validation_count", "4", "--data.num_workers", "0",
        "--data.batch_size", batch_size, "--optimizer", "torch.optim.SGD", "--optimizer.lr", "0.1",
        "--trainer.accelerator", "cpu", "--trainer.default_root_dir", folder, "--trainer.max_steps", "3",
    ]  # fmt: skip
    started = [
        subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(machines)
    ]
    said = [process.communicate(timeout=150)[1] for process in started]
    assert not any(process.returncode for process in started), "\n".join(said)
    return load_file(folder / "weights.safetensors")


def test_two_machines_train_as_one_with_the_doubled_batch(tmp_path: Path) -> None:
    (torchrun,) = (command.text for command in commands() if command.text.startswith("torchrun "))
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        port = unused.getsockname()[1]
    recipe = f"{CONFIG}/protocol.yaml"
    for word, given in (
        ("torchrun", "torch.distributed.run --local-addr localhost"),
        ("FIRST_MACHINE:29500", f"localhost:{port}"),
        ("--nproc-per-node 4", "--nproc-per-node 1"),
        ("--trainer.devices 4", "--trainer.devices 1"),
        ("RECIPE.yaml", recipe),
    ):
        assert word in torchrun
        torchrun = torchrun.replace(word, given)
    alone = f"stvae_ros.cli.main train --config {recipe}"
    together, halved = train(tmp_path / "one", 4, alone), train(tmp_path / "half", 2, alone)
    shared = train(tmp_path / "two", 2, torchrun, machines=2)
    for name, value in together.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(halved[name], value, rtol=1e-4, atol=1e-6) for name, value in together.items())
