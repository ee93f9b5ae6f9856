"""Methods that predict frames."""

from __future__ import annotations

import time

import numpy as np
import pytest
from networks import Drift

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.core.classical_flow import classical_flows, dis_flow, farneback_flow, grey
from stvae_ros.evaluation.core.loop import PERIOD, Sample, show
from stvae_ros.evaluation.core.methods import Extrapolation, Network, references
from stvae_ros.evaluation.core.metrics import psnr
from stvae_ros.nn.interface import Prediction, State
from stvae_ros.streaming import StreamingPredictor


def sliding(x: int, count: int = 5) -> list[np.ndarray]:
    """A texture that moves right by x pixels per frame."""
    texture = SyntheticScene(7, 200, 96, objects=0, camera_motion=0).frame(0)
    return [texture[:, 100 - x * t : 100 - x * t + 96].copy() for t in range(count)]


def samples(frames: list[np.ndarray], *ahead: int) -> list[Sample]:
    return [Sample(frame, t * PERIOD, ahead) for t, frame in enumerate(frames)]


@pytest.mark.parametrize("name", ["DIS ultrafast", "DIS fast", "DIS medium", "Farneback"])
def test_classical_flow_of_a_sliding_texture(name: str) -> None:
    first, second = (grey(frame) for frame in sliding(3, 2))
    flow = classical_flows()[name](first, second)
    assert flow.shape == (96, 96, 2) and flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow[16:-16, 16:-16], axis=(0, 1)), [3, 0], atol=0.3)


@pytest.mark.parametrize("flow", [dis_flow("medium"), farneback_flow], ids=["DIS", "Farneback"])
def test_extrapolation_continues_the_motion(flow) -> None:  # type: ignore[no-untyped-def]
    frames = sliding(3, 4)
    extrapolation = Extrapolation(flow)
    first, second = map(extrapolation, samples(frames[:2], 1, 2))
    assert first.images[1] is frames[0] and first.flow is None
    assert second.flow is not None
    np.testing.assert_allclose(np.median(second.flow[16:-16, 16:-16], axis=(0, 1)), [3, 0], atol=0.3)
    assert second.images[1].shape == frames[1].shape and second.images[1].dtype == np.uint8

    def inside(image: np.ndarray) -> np.ndarray:
        return image[16:-16, 16:-16].copy()

    def gain(prediction: np.ndarray, truth: np.ndarray, other: np.ndarray) -> float:
        return psnr(inside(prediction), inside(truth)) - psnr(inside(other), inside(truth))

    assert gain(second.images[1], frames[2], frames[1]) > 6
    assert psnr(inside(second.images[2]), inside(frames[3])) > psnr(inside(second.images[2]), inside(frames[2])) + 6


def test_no_flow_is_measured_if_no_prediction_is_asked_for() -> None:
    calls = []

    def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        calls.append(first)
        return np.zeros((*first.shape, 2), np.float32)

    extrapolation = Extrapolation(flow)
    results = [extrapolation(sample) for sample in samples(sliding(3))]
    assert calls == [] and all(result.images == {} for result in results)


def test_references_start_without_memory_and_forget_it() -> None:
    frames = sliding(3)
    used = references()
    for sample in samples(frames, 1):
        for predict in used.values():
            predict(sample)
    for methods in (references(), used):
        for predict in methods.values():
            predict.reset()
        first = samples(frames, 1)[0]
        assert all(predict(first).images[1] is frames[0] for predict in methods.values()), "the first frame is copied"


class Slow(Drift):
    """A network whose step takes 30 ms."""

    def step(self, frame, state: State) -> tuple[Prediction, State]:  # type: ignore[no-untyped-def]
        time.sleep(0.03)
        return super().step(frame, state)


def test_time_of_the_rollout_is_told_apart_from_that_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamingPredictor, "warm_up", lambda self: None)  # A traced step would not sleep.
    network = Network(StreamingPredictor(Slow(2, channels=3), "cpu", "fp32", (96, 96)))
    steps = list(show(samples(sliding(3), 1, 2, 3), {"slow": network}))
    forecast = steps[-1].results["slow"]
    assert set(forecast.images) == {1, 2, 3}
    assert 60 <= forecast.rollout_milliseconds < steps[-1].milliseconds["slow"] - 30
