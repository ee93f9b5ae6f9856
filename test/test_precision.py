"""Precision and threads that are chosen for the machine at hand."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch

from stvae_ros import zoo
from stvae_ros.export.check import moving_frames
from stvae_ros.streaming import StreamingPredictor, precision
from stvae_ros.streaming.device import automatic_threads
from stvae_ros.streaming.precision import Choice, _inputs_of_layers, _loss, _speedup, choose_precision, measure

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
    assert choice.seconds > 0 and f"measured in {choice.seconds:.1f} s" in str(choice)


def test_layers_get_what_frames_of_the_size_would_give_them() -> None:
    network = zoo.load(zoo.find("stvae-rt-s")).eval()
    with torch.inference_mode():
        scaled, plain = (
            _inputs_of_layers(network, torch.rand(1, 3, height, width), (128, 96))
            for width, height in ((64, 48), (128, 96))
        )
    assert [layer for layer, _ in scaled] == [layer for layer, _ in plain]
    assert [x.shape for _, x in scaled] == [x.shape for _, x in plain]


@pytest.mark.parametrize("in_time", [True, False])
def test_no_layer_is_timed_when_time_is_up(in_time: bool) -> None:
    layers, runs = [torch.nn.Linear(2, 2) for _ in range(3)], []

    def count(layer: torch.nn.Module, given: object) -> None:
        runs.append(next(layer.parameters()).dtype)

    for layer in layers:
        layer.register_forward_pre_hook(count)
    with torch.inference_mode():
        inputs = [(layer, torch.rand(1, 2)) for layer in layers]
        speedup = _speedup(inputs, CPU, time.perf_counter() + 600 * in_time)
    assert speedup > 0 and runs[:2] == [torch.float32, torch.bfloat16]
    assert (len(runs) >= 3 * 3 * 2) if in_time else (len(runs) == 2)


@pytest.mark.parametrize(("seconds", "steps"), [(600, 5), (0, 3)])
def test_quality_is_of_one_frame_at_least(seconds: float, steps: int) -> None:
    network, taken = zoo.load(zoo.find("stvae-rt-s")).eval(), []
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_pre_hook(lambda *given: taken.append(next(given[0].parameters()).dtype))
    with torch.inference_mode():
        loss = _loss(network, moving_frames(3, 96, 64, 6), time.perf_counter() + seconds)
    assert 0 < abs(loss) < precision.LOSS
    assert taken == [torch.float32, torch.bfloat16] * steps, "side by side, and the first two do not count"


@pytest.mark.parametrize(("speedup", "loss", "chosen"), [(2.0, 0.05, "bf16"), (1.05, 0.0, "fp32"), (2.0, 0.2, "fp32")])
def test_bf16_must_be_faster_and_as_good(
    speedup: float, loss: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_speedup", lambda inputs, device, end: speedup)
    monkeypatch.setattr(precision, "_loss", lambda network, frames, end: loss)
    assert measure(zoo.load(zoo.find("stvae-rt-s")), SIZE, CPU).precision == chosen


def test_it_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = zoo.load(zoo.find("stvae-rt-s"))
    calls = []
    monkeypatch.setattr(precision, "measure", lambda *given: calls.append(given) or Choice("bf16", 1.5, 0.01, 0.9))
    for weights in ("one", "one", "two"):
        choice = choose_precision(network, SIZE, CPU, tmp_path / "cache", weights)
        assert choice == Choice("bf16", 1.5, 0.01, 0.9)
    assert len(calls) == 2, "once for each network"
    file = tmp_path / "cache" / "precision.json"
    assert len(json.loads(file.read_text())) == 2 and [path.name for path in file.parent.iterdir()] == [file.name]
    file.write_text("cut")
    assert choose_precision(network, SIZE, CPU, tmp_path / "cache", "one") == choice and len(calls) == 3


def test_what_a_busy_machine_took_long_for_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = zoo.load(zoo.find("stvae-rt-s"))
    for seconds, told in ((9.0, 9.0), (1.0, 1.0), (9.0, 1.0)):
        monkeypatch.setattr(precision, "measure", lambda *given, taken=seconds: Choice("bf16", 1.5, 0.01, taken))
        choice = choose_precision(network, SIZE, CPU, tmp_path, "one")
        assert choice is not None and choice.seconds == told


def test_auto_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zoo.find("stvae-rt-s")
    for found, precision_, why in (
        (Choice("fp32", 0.9, 0.0, 0.5), "fp32", "measured"),
        (Choice("bf16", 1.5, 0.0, 0.9), "bf16", "1/1.50"),
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
