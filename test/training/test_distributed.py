"""Training on several machines gives the same weights as one process with the larger batch."""

import shlex
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from checkout import ROOT
from documents import commands
from safetensors.torch import load_file

from stvae_ros.cli.main import main

CONFIG = ROOT / "config" / "paper"

pytestmark = pytest.mark.skipif(find_spec("lightning") is None, reason="needs Lightning: pip install '.[train]'")


def options(folder: Path, batch_size: int) -> list[str]:
    """Options that train a small network for three steps; a first recipe comes before them."""
    given = [
        "--config", CONFIG / "conv-2enc-1lstm.yaml",
        "--model.options.encoder", "[4, 4]", "--model.options.memory", "[4]", "--model.options.encoder_gain", "10",
        "--data.length", "3", "--data.validation_count", "4", "--data.num_workers", "0",
        "--data.batch_size", batch_size, "--optimizer", "torch.optim.SGD", "--optimizer.lr", "0.1",
        "--trainer.accelerator", "cpu", "--trainer.default_root_dir", folder, "--trainer.max_steps", "3",
    ]  # fmt: skip
    return list(map(str, given))


@pytest.mark.filterwarnings("ignore")
def test_two_machines_train_like_one_with_twice_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["stvae"])
    (torchrun,) = (command.text for command in commands() if command.text.startswith("torchrun "))
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        port = unused.getsockname()[1]
    recipe = f"{CONFIG}/protocol.yaml"
    for word, replacement in (
        ("torchrun", "torch.distributed.run --local-addr localhost"),
        ("FIRST_MACHINE:29500", f"localhost:{port}"),
        ("--nproc-per-node 4", "--nproc-per-node 1"),
        ("--trainer.devices 4", "--trainer.devices 1"),
        ("RECIPE.yaml", recipe),
    ):
        assert word in torchrun
        torchrun = torchrun.replace(word, replacement)
    command = [sys.executable, "-m", *shlex.split(torchrun), *options(tmp_path / "shared", 2)]
    with (tmp_path / "output").open("w") as output:
        machines = [subprocess.Popen(command, stdout=output, stderr=output) for _ in range(2)]
    try:
        for name, batch_size in (("together", 4), ("halved", 2)):
            assert main(["train", "--config", recipe, *options(tmp_path / name, batch_size)]) == 0
        codes = [machine.wait(150) for machine in machines]
    finally:
        for machine in machines:
            machine.terminate()
        print((tmp_path / "output").read_text())  # pytest shows it if the test fails
    assert codes == [0, 0]
    together, shared, halved = (
        load_file(tmp_path / name / "weights.safetensors") for name in ("together", "shared", "halved")
    )
    for name, value in together.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(halved[name], value, rtol=1e-4, atol=1e-6) for name, value in together.items())
