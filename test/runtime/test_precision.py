"""Precision and threads that are chosen for the machine at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from stvae_ros import zoo
from stvae_ros.runtime import layer_speed, precision
from stvae_ros.runtime.device import automatic_threads
from stvae_ros.runtime.export_check import moving_frames
from stvae_ros.runtime.layer_speed import TimeUp, fewer_rows, inputs_of_layers, speedup_in_bf16
from stvae_ros.runtime.precision import Choice, _loss, choose_precision, measure
from stvae_ros.streaming import StreamingPredictor

CPU = torch.device("cpu")
SIZE = (64, 48)
LATER = float("inf")


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
            inputs_of_layers(network, torch.rand(1, 3, height, width), (128, 96), LATER)
            for width, height in ((64, 48), (128, 96))
        )
    assert scaled == plain


def test_large_layers_get_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [
        (torch.nn.Conv2d(2, 4, 3, stride=2), [1, 2, 80, 64]),
        (torch.nn.Conv2d(4, 8, 5), [1, 4, 40, 32]),
        (torch.nn.Linear(3, 3), [7, 3]),
    ]
    assert fewer_rows(layers) == layers
    monkeypatch.setattr(layer_speed, "_WORK", 4 * 8 * 5 * 5 * 10 * 32)
    assert fewer_rows(layers) == [(layers[0][0], [1, 2, 20, 64]), (layers[1][0], [1, 4, 10, 32]), layers[2]]
    monkeypatch.setattr(layer_speed, "_WORK", 1)
    assert [shape for _, shape in fewer_rows(layers)] == [[1, 2, 3, 64], [1, 4, 5, 32], [7, 3]]


class Fast:
    """A clock that shows ``tick`` seconds more each time it is looked at, and counts what is run meanwhile."""

    def __init__(self, tick: float, network: torch.nn.Module, patch: pytest.MonkeyPatch) -> None:
        self.tick, self.now = tick, 0.0
        self.ran: list[tuple[torch.dtype, float]] = []
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(self.note)  # Copies, in bf16, have it too.
        for module in (precision, layer_speed):
            patch.setattr(module, "time", SimpleNamespace(perf_counter=self))

    def __call__(self) -> float:
        self.now += self.tick
        return self.now

    def note(self, layer: torch.nn.Module, given: object, made: object) -> None:
        self.ran.append((next(layer.parameters()).dtype, self.now))

    def __deepcopy__(self, memo: object) -> Fast:
        return self


@pytest.mark.parametrize(
    ("tick", "told"),
    [
        (0.0002, "and cost"),
        (0.007, "what bf16 costs"),
        (0.02, "whether bf16 is faster"),
        (0.1, "whether bf16 is faster"),
    ],
)
def test_whatever_takes_long_it_ends_in_two_seconds(tick: float, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = zoo.load(zoo.find("stvae-rt-s"))
    monkeypatch.setattr(precision, "_FASTER", 0.0)
    clock = Fast(tick, network, monkeypatch)
    choice = measure(network, SIZE, CPU)
    assert told in str(choice) and choice.seconds < 2.0
    assert choice.precision == ("bf16" if told == "and cost" else "fp32"), "never worse without having looked"
    assert choice.in_time == (told == "and cost")
    assert clock.ran and max(now for _, now in clock.ran) < 1.4 + 4 * tick, "nothing is run any longer"


@pytest.mark.parametrize("enough", [True, False])
def test_each_layer_is_timed_and_once_more_if_there_is_time(enough: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch.nn.Sequential(*(torch.nn.Conv2d(2, 2, 1) for _ in range(3)))
    clock = Fast(0.001, network, monkeypatch)
    with torch.inference_mode():
        layers = [(layer, [1, 2, 4, 4]) for layer in network]
        assert speedup_in_bf16(layers, CPU, 600.0 * (not enough), LATER) > 0
        runs = [dtype for dtype, _ in clock.ran]
        assert runs[:6] == [torch.float32, torch.bfloat16] * 3
        assert (len(runs) == 6) if enough else (len(runs) >= 3 * 6)
        with pytest.raises(TimeUp):
            speedup_in_bf16(layers, CPU, LATER, clock.now)
        assert len(clock.ran) == len(runs)


@pytest.mark.parametrize(("frames", "known"), [(5, True), (3, True), (2, False), (0, False)])
def test_quality_is_of_one_frame_at_least(frames: int, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = zoo.load(zoo.find("stvae-rt-s")).eval()
    given = moving_frames(3, 96, 64, 6)
    with torch.inference_mode():
        clock = Fast(1.0, network, monkeypatch)
        whole = _loss(network, given, LATER)
        assert 0 < abs(whole) < precision.LOSS
        looks = clock.now / 5  # for each frame
        clock.now = 0.0
        if known:
            assert abs(_loss(network, given, looks * frames)) < precision.LOSS
        else:
            with pytest.raises(TimeUp):
                _loss(network, given, looks * frames)
    assert clock.now == pytest.approx(looks * frames + (frames < 5)), "side by side, and then no more"


@pytest.mark.parametrize(("speedup", "loss", "chosen"), [(2.0, 0.05, "bf16"), (1.05, 0.0, "fp32"), (2.0, 0.2, "fp32")])
def test_bf16_must_be_faster_and_as_good(
    speedup: float, loss: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "speedup_in_bf16", lambda *given: speedup)
    monkeypatch.setattr(precision, "_loss", lambda *given: loss)
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
