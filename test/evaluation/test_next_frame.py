"""Evaluation of next-frame prediction."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest

from stvae_ros import zoo
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.core.loop import PERIOD, Sample
from stvae_ros.evaluation.core.methods import Forecast, Network, references
from stvae_ros.evaluation.core.metrics import PSNR_CAP, static_pixels
from stvae_ros.streaming import StreamingPredictor

# Not importorskip: pytest's launch plugin imports every module and would skip the whole folder.
if find_spec("torchmetrics") is None:
    pytestmark = pytest.mark.skip(reason="needs torchmetrics: pip install '.[eval]'")
else:
    from stvae_ros.cli.evaluate.frames import read_samples
    from stvae_ros.evaluation.next_frame import evaluate


def stream(images: list[np.ndarray], *ahead: int) -> list[Sample]:
    return [Sample(image, t * PERIOD, ahead or (1,)) for t, image in enumerate(images)]


def test_classical_extrapolation_beats_copying_a_moving_texture() -> None:
    scene = SyntheticScene(2, 160, 120, objects=0, max_speed=6.0)
    samples = [Sample(scene.frame(t), t * PERIOD, flow=scene.truth(t).forward_flow) for t in range(8)]
    network = Network(StreamingPredictor(zoo.create("ae-convlstm-flow"), "cpu", "fp32", (64, 48)))
    scores = evaluate(samples, {"untrained": network, **references()}, warm_up=2)
    copied = scores["copy last"]
    assert all(len(score["psnr"]) == 5 and len(score["epe"]) == 6 for score in scores.values())
    assert scores["untrained"]["psnr"] == pytest.approx(copied["psnr"]), "an untrained network copies"
    for name in ("DIS ultrafast", "DIS fast", "DIS medium", "Farneback"):
        assert scores[name].mean("psnr") > copied.mean("psnr") + 3
        assert scores[name].mean("psnr_moving") > copied.mean("psnr_moving") + 3
        assert 1 - scores[name].mean("ssim") < 0.5 * (1 - copied.mean("ssim"))
        assert scores[name].mean("epe") < 0.5 * copied.mean("epe")


def test_copying_a_still_scene_is_exact() -> None:
    scene = SyntheticScene(3, 64, 48, objects=0, camera_motion=0)
    truths = [scene.truth(t) for t in range(5)]
    samples = [
        Sample(scene.frame(t), t * PERIOD, flow=truth.forward_flow, observed=truth.backward_flow)
        for t, truth in enumerate(truths)
    ]
    score = evaluate(samples, references())["copy last"]
    assert score["psnr"] == [PSNR_CAP] * 2 and score["ssim"] == pytest.approx([1.0] * 2, abs=1e-4)
    assert score["epe"] == score["epe_observed"] == pytest.approx([0.0] * 3, abs=1e-5)
    assert score["flicker"] == [0.0] * 2 and score["psnr_moving"] == []


@pytest.mark.parametrize(("frames", "warm_up", "predictions"), [(6, 2, 3), (6, 0, 5), (2, 2, 0), (3, 2, 0), (1, 0, 0)])
def test_evaluate_counts_each_frame_once(frames: int, warm_up: int, predictions: int) -> None:
    shown = []

    def predict(sample: Sample) -> Forecast:
        shown.append(int(sample.image[0, 0]))
        return Forecast({1: sample.image})

    samples = stream([np.full((12, 12), t, np.uint8) for t in range(frames)])
    score = evaluate(samples, {"one": predict}, warm_up)["one"]
    assert shown == list(range(frames))
    assert len(score["psnr"]) == predictions
    assert len(score["ms"]) == max(frames - warm_up, 0)
    assert score["epe"] == score["epe_observed"] == score["flicker"] == [] and math.isnan(score.mean("epe"))
    assert score["psnr"] == pytest.approx([20 * math.log10(255)] * predictions, abs=1e-3), "against the next frame"


def test_each_frame_is_compared_with_the_forecasts_of_one_two_and_three_frames_before() -> None:
    def predict(sample: Sample) -> Forecast:
        t = int(sample.image[0, 0])
        return Forecast({ahead: np.full_like(sample.image, t + ahead + ahead - 1) for ahead in (1, 2, 3)})

    score = evaluate(stream([np.full((12, 12), t, np.uint8) for t in range(8)], 1, 2, 3), {"one": predict})["one"]
    assert [len(score[figure]) for figure in ("psnr", "psnr_2", "psnr_3")] == [5, 4, 3]
    assert score["psnr"] == [PSNR_CAP] * 5
    assert score["psnr_2"] == pytest.approx([20 * math.log10(255)] * 4, abs=1e-3), "one grey level too bright"
    assert score["psnr_3"] == pytest.approx([20 * math.log10(255 / 2)] * 3, abs=1e-3)


def test_time_of_a_step_excludes_its_rollout() -> None:
    def predict(sample: Sample) -> Forecast:
        return Forecast({1: sample.image}, rollout_milliseconds=7.0)

    score = evaluate(stream([np.zeros((12, 12), np.uint8)] * 4), {"one": predict})["one"]
    assert score["ms_rollout"] == [7.0, 7.0] and score.median("ms") < 0, "7 ms are taken off a time of nearly 0"


def test_flicker_is_the_change_of_flow_on_static_pixels() -> None:
    flows = iter([0.0, 0.0, 3.0, 3.0, -1.0])

    def predict(sample: Sample) -> Forecast:
        flow = np.full((*sample.image.shape, 2), [next(flows), 0], np.float32)
        return Forecast({1: sample.image}, flow)

    still = SyntheticScene(3, 64, 48, objects=0, camera_motion=0).frame(0)[..., 0].copy()
    score = evaluate(stream([still] * 5), {"one": predict})["one"]
    assert score["flicker"] == pytest.approx([0, 4]), "from the first frame that counts"
    flows = iter([0.0, 0.0, 3.0, 3.0, -1.0])
    jumping = stream([np.roll(still, 20 * t, axis=1) for t in range(5)])
    assert evaluate(jumping, {"one": predict})["one"]["flicker"] == [], "nothing stands still"


def test_flicker_does_not_count_while_the_camera_moves() -> None:
    textured = SyntheticScene(3, 96, 64, objects=0, camera_motion=0).frame(0)[..., 0].copy()
    frames = [np.roll(textured, 3 * t, axis=1) for t in range(6)]
    for frame in frames:
        frame[:16, :16] = textured[:16, :16]
    assert not static_pixels(frames[0], frames[1]).any(), "something seems to stand still"
    predict = references()["DIS medium"]
    assert evaluate(stream(frames), {"one": predict})["one"]["flicker"] == []


def test_samples_of_a_scene_come_with_true_flow_both_ways() -> None:
    first, second = read_samples("synthetic:3", (64, 48), 2, rollout=2)
    scene = SyntheticScene(3, 64, 48)
    assert first.observed is None and (first.stamp, second.stamp) == (0, PERIOD) and list(first.ahead) == [1, 2]
    assert np.array_equal(first.flow, scene.truth(0).forward_flow)
    assert np.array_equal(second.observed, scene.truth(0).backward_flow)
