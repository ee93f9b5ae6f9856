"""Precision and threads that are chosen for the machine at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from stvae_ros import zoo
from stvae_ros.streaming import StreamingPredictor, precision
from stvae_ros.streaming.device import automatic_threads
from stvae_ros.streaming.precision import Choice, choose_precision, measure

CPU = torch.device("cpu")
SIZE = (64, 48)


@pytest.fixture(autouse=True)
def bf16_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)


def test_what_is_measured_is_of_this_network() -> None:
    network = zoo.load(zoo.find("stvae-rt-s"))
    choice = measure(network, SIZE, CPU)
    assert choice.speedup > 0 and abs(choice.loss) < precision.LOSS, "rounding costs little"
    assert choice.precision == ("bf16" if choice.speedup > 1.1 else "fp32")


@pytest.mark.parametrize(("speedup", "loss", "chosen"), [(2.0, 0.05, "bf16"), (1.05, 0.0, "fp32"), (2.0, 0.2, "fp32")])
def test_bf16_must_be_faster_and_as_good(
    speedup: float, loss: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_speedup", lambda inputs, device: speedup)
    monkeypatch.setattr(precision, "_psnr", lambda network, frames, dtype: 30 - loss * (dtype == torch.bfloat16))
    assert measure(zoo.load(zoo.find("stvae-rt-s")), SIZE, CPU).precision == chosen


def test_it_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = zoo.load(zoo.find("stvae-rt-s"))
    calls = []
    monkeypatch.setattr(precision, "measure", lambda *given: calls.append(given) or Choice("bf16", 1.5, 0.01))
    for weights in ("one", "one", "two"):
        choice = choose_precision(network, SIZE, CPU, tmp_path / "cache", weights)
        assert choice == Choice("bf16", 1.5, 0.01)
    assert len(calls) == 2, "once for each network"
    file = tmp_path / "cache" / "precision.json"
    assert len(json.loads(file.read_text())) == 2 and [path.name for path in file.parent.iterdir()] == [file.name]
    file.write_text("cut")
    assert choose_precision(network, SIZE, CPU, tmp_path / "cache", "one") == choice and len(calls) == 3


def test_auto_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zoo.find("stvae-rt-s")
    for found, precision_, why in (
        (Choice("fp32", 0.9, 0.0), "fp32", "measured"),
        (Choice("bf16", 1.5, 0.0), "bf16", "1/1.50"),
        (None, "fp32", "no bf16"),
    ):
        monkeypatch.setattr("stvae_ros.streaming.predictor.choose_precision", lambda *given, found=found: found)
        predictor = StreamingPredictor.from_weights(path, device="cpu", cache_folder=tmp_path)
        assert predictor.precision == precision_ and why in predictor.precision_reason
    assert StreamingPredictor.from_weights(path, device="cpu", precision="fp32").precision_reason == "fp32, given"


def test_threads_leave_cores_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    for cores, threads in ((1, 1), (2, 1), (4, 3), (8, 6), (16, 12)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        assert automatic_threads() == threads
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert automatic_threads() == 2, "OMP_NUM_THREADS is heeded"
