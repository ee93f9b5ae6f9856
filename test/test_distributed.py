"""Training by several processes gives the weights that one process gets from the larger batch."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config" / "paper"

pytestmark = pytest.mark.skipif(find_spec("lightning") is None, reason="needs Lightning: pip install '.[train]'")


def train(folder: Path, batch_size: int, launcher: tuple[str, ...] = (), *options: str) -> dict[str, torch.Tensor]:
    """Three steps of a small network, started as the README says; returns its weights."""
    command = [
        sys.executable, *launcher, "-m", "stvae_ros.cli.main", "train",
        "--config", CONFIG / "protocol.yaml", "--config", CONFIG / "conv-2enc-1lstm.yaml",
        "--model.options.encoder", "[4, 4]", "--model.options.memory", "[4]", "--model.options.encoder_gain", "10",
        "--data.length", "3", "--data.validation_count", "4", "--data.num_workers", "0",
        "--data.batch_size", batch_size, "--optimizer", "torch.optim.SGD", "--optimizer.lr", "0.1",
        "--trainer.accelerator", "cpu", "--trainer.default_root_dir", folder, "--trainer.max_steps", "3",
        *options,
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return load_file(folder / "weights.safetensors")


def test_two_processes_train_as_one_with_the_doubled_batch(tmp_path: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    together = train(tmp_path / "one", 4)
    shared = train(tmp_path / "two", 2, torchrun, "--trainer.strategy", "ddp", "--trainer.devices", "2")
    halved = train(tmp_path / "half", 2)
    for name, value in together.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(halved[name], value, rtol=1e-4, atol=1e-6) for name, value in together.items())
