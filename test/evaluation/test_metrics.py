"""Metrics and the predictors to beat."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest

from stvae_ros import zoo
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.core.classical_flow import FlowExtrapolation, dis_flow, farneback_flow, grey, reference_flows
from stvae_ros.evaluation.cost import step_cost
from stvae_ros.evaluation.flow_pairs import observed_by, pair_errors
from stvae_ros.evaluation.core.metrics import PSNR_CAP, end_point_error, psnr, static_pixels
from stvae_ros.streaming import StreamingPredictor

# Not importorskip: pytest's launch plugin imports every module and would skip the whole folder.
if find_spec("torchmetrics") is None:
    pytestmark = pytest.mark.skip(reason="needs torchmetrics: pip install '.[eval]'")
else:
    from stvae_ros.evaluation.next_frame import Forecast, Score, Shown, evaluate, mean, ours, references
    from stvae_ros.evaluation.core.similarity import ssim


def test_psnr() -> None:
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 10, np.uint8)
    assert psnr(black, grey) == pytest.approx(20 * math.log10(255 / 10), abs=1e-3)
    assert psnr(black, black) == PSNR_CAP


def test_end_point_error() -> None:
    flow, truth = np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)
    truth[0, 0] = 3, 4
    assert end_point_error(flow, truth) == pytest.approx(5 / 4)
    assert end_point_error(flow, truth, np.array([[True, False], [False, True]])) == pytest.approx(5 / 2)


def test_classical_extrapolation_beats_copying_a_moving_texture() -> None:
    scene = SyntheticScene(2, 160, 120, objects=0, max_speed=6.0)
    frames = [Shown(scene.frame(t), scene.truth(t).forward_flow) for t in range(8)]
    network = ours(StreamingPredictor(zoo.create("ae-convlstm-flow"), "cpu", "fp32", (64, 48)))
    scores = evaluate(frames, {"untrained": network, **references()}, warm_up=2)
    copied = scores["copy last"]
    assert all(len(score.psnrs) == 5 and len(score.errors) == 6 for score in scores.values())
    assert scores["untrained"].psnrs == pytest.approx(copied.psnrs), "an untrained network copies"
    for name in ("DIS ultrafast", "DIS fast", "DIS medium", "Farneback"):
        assert mean(scores[name].psnrs) > mean(copied.psnrs) + 3
        assert mean(scores[name].moving) > mean(copied.moving) + 3
        assert 1 - mean(scores[name].ssim) < 0.5 * (1 - mean(copied.ssim))
        assert mean(scores[name].errors) < 0.5 * mean(copied.errors)


def test_step_cost_by_hand() -> None:
    cost = step_cost(zoo.create("ae-convlstm-flow"), 160, 120)
    full, half = 160 * 120, 80 * 60
    macs = full * 49 * 16 + half * (49 * 80 * 256 + 225 * 64 * 2 + 225 * 2 * 2 + 2 * 2) + full * 49 * 16
    assert cost.flops == 2 * macs
    assert cost.parameters == 1_035_067 and cost.state_bytes == 2 * 64 * half * 4


def sliding(x: int, count: int = 5) -> list[np.ndarray]:
    """A texture that moves right by x pixels a frame."""
    texture = SyntheticScene(7, 200, 96, objects=0, camera_motion=0).frame(0)
    return [texture[:, 100 - x * t : 100 - x * t + 96].copy() for t in range(count)]


@pytest.mark.parametrize("error", [1, 16, 255])
def test_psnr_in_closed_form(error: int) -> None:
    black = np.zeros((6, 5), np.uint8)
    assert psnr(black, black + np.uint8(error)) == pytest.approx(20 * math.log10(255 / error), abs=1e-3)


def test_psnr_is_capped_also_when_nearly_exact() -> None:
    first = np.zeros((1000, 1000), np.uint8)
    second = first.copy()
    second[0, 0] = 1
    assert psnr(first, second) == PSNR_CAP == 60.0


def test_end_point_error_of_chosen_pixels() -> None:
    truth = np.zeros((1, 3, 2), np.float32)
    flow = np.array([[[3, 4], [-6, 8], [0, 0]]], np.float32)
    assert end_point_error(flow, truth) == pytest.approx(5.0)
    assert end_point_error(flow, truth, np.array([[False, True, False]])) == pytest.approx(10.0)
    assert end_point_error(flow, flow) == 0.0


def test_copying_a_still_scene_is_exact() -> None:
    scene = SyntheticScene(3, 64, 48, objects=0, camera_motion=0)
    shown = [Shown(scene.frame(t), scene.truth(t).forward_flow, scene.truth(t).backward_flow) for t in range(5)]
    score = evaluate(shown, references())["copy last"]
    assert score.psnrs == [PSNR_CAP] * 2 and score.ssim == pytest.approx([1.0] * 2, abs=1e-4)
    assert score.errors == score.observed_errors == pytest.approx([0.0] * 3, abs=1e-5)
    assert score.flicker == [0.0] * 2 and score.moving == []


@pytest.mark.parametrize(("frames", "warm_up", "predictions"), [(6, 2, 3), (6, 0, 5), (2, 2, 0), (3, 2, 0), (1, 0, 0)])
def test_evaluate_counts_each_frame_once(frames: int, warm_up: int, predictions: int) -> None:
    shown = []

    def predict(image: np.ndarray) -> Forecast:
        shown.append(int(image[0, 0]))
        return Forecast([image])

    images = [Shown(np.full((12, 12), t, np.uint8)) for t in range(frames)]
    score = evaluate(images, {"one": predict}, warm_up)["one"]
    assert shown == list(range(frames))
    assert len(score.psnrs) == predictions
    assert len(score.milliseconds) == max(frames - warm_up, 0)
    assert score.errors == score.observed_errors == score.flicker == [] and math.isnan(mean(score.errors))
    assert score.psnrs == pytest.approx([20 * math.log10(255)] * predictions, abs=1e-3), "against the next frame"


def test_each_frame_is_compared_with_what_was_said_of_it_one_two_and_three_frames_before() -> None:
    def predict(image: np.ndarray) -> Forecast:
        t = int(image[0, 0])
        return Forecast([np.full_like(image, t + ahead + ahead - 1) for ahead in (1, 2, 3)])

    images = [Shown(np.full((12, 12), t, np.uint8)) for t in range(8)]
    rollout = evaluate(images, {"one": predict})["one"].rollout
    assert [len(values) for values in rollout] == [5, 4, 3]
    assert rollout[0] == [PSNR_CAP] * 5
    assert rollout[1] == pytest.approx([20 * math.log10(255)] * 4, abs=1e-3), "one grey level too bright"
    assert rollout[2] == pytest.approx([20 * math.log10(255 / 2)] * 3, abs=1e-3)


def test_flicker_is_the_change_of_flow_on_what_stands_still() -> None:
    flows = iter([0.0, 0.0, 3.0, 3.0, -1.0])

    def predict(image: np.ndarray) -> Forecast:
        return Forecast([image], np.full((*image.shape, 2), [next(flows), 0], np.float32))

    still = SyntheticScene(3, 64, 48, objects=0, camera_motion=0).frame(0)[..., 0].copy()
    score = evaluate([Shown(still)] * 5, {"one": predict})["one"]
    assert score.flicker == pytest.approx([0, 4]), "from the first frame that counts"
    jumping = [Shown(np.roll(still, 20 * t, axis=1)) for t in range(5)]
    flows = iter([0.0, 0.0, 3.0, 3.0, -1.0])
    assert evaluate(jumping, {"one": predict})["one"].flicker == [], "nothing stands still"


def test_static_pixels_have_texture_and_may_have_noise() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(80, 120, (40, 60)).astype(np.uint8)
    first[:, 40:] = 100
    second = first + rng.integers(0, 3, first.shape).astype(np.uint8)
    second[:, :14] = np.roll(first[:, :14], 1, axis=0)
    static = static_pixels(first, second)
    assert static[:, 18:36].all() and not static[:, :10].any(), "noise on texture; texture that moves"
    assert not static[:, 44:].any(), "of a plain surface nobody can tell"


def test_flicker_does_not_count_while_the_camera_moves() -> None:
    textured = SyntheticScene(3, 96, 64, objects=0, camera_motion=0).frame(0)[..., 0].copy()
    frames = [np.roll(textured, 3 * t, axis=1) for t in range(6)]
    for frame in frames:
        frame[:16, :16] = textured[:16, :16]
    assert not static_pixels(frames[0], frames[1]).any(), "something seems to stand still"
    predict = references()["DIS medium"]
    assert evaluate([Shown(frame) for frame in frames], {"one": predict})["one"].flicker == []


def test_psnr_and_ssim_of_chosen_pixels() -> None:
    black, half = np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8)
    half[:, 8:] = 255
    right = half > 0
    assert psnr(black, half, right) == pytest.approx(0.0) and psnr(black, half, ~right) == PSNR_CAP
    assert psnr(black, half) == pytest.approx(10 * math.log10(2), abs=1e-3)
    assert ssim(half, half) == pytest.approx(1.0) and ssim(black, half) < 0.6


def test_median_time() -> None:
    assert Score(milliseconds=[1.0, 2.0, 100.0]).median_milliseconds == 2.0
    assert math.isnan(Score().median_milliseconds) and mean([1.0, 2.0, 6.0]) == 3.0


def test_flow_of_a_pair() -> None:
    second, first = sliding(3, 2)
    truth = np.full((96, 96, 2), [-3, 0], np.float32)
    truth[:4] = np.nan
    build = {"paper": lambda size: StreamingPredictor(zoo.create("ae-convlstm-flow"), "cpu", "fp32", size)}
    errors = pair_errors(first, second, truth, build)
    assert errors["no flow"] == pytest.approx(3.0) and math.isnan(errors["paper"]), "it measures no flow"
    assert errors["DIS medium"] < 1.0
    network = zoo.create("stvae-rt-s")
    flow = observed_by(StreamingPredictor(network, "cpu", "fp32", (96, 96)), first, second)
    assert flow is not None and flow.shape == (96, 96, 2)


@pytest.mark.parametrize("name", ["DIS ultrafast", "DIS fast", "DIS medium", "Farneback"])
def test_classical_flow_of_a_sliding_texture(name: str) -> None:
    first, second = (grey(frame) for frame in sliding(3, 2))
    flow = reference_flows()[name](first, second)
    assert flow.shape == (96, 96, 2) and flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow[16:-16, 16:-16], axis=(0, 1)), [3, 0], atol=0.3)


@pytest.mark.parametrize("flow", [dis_flow("medium"), farneback_flow], ids=["DIS", "Farneback"])
def test_extrapolation_goes_on_the_way_things_went(flow) -> None:  # type: ignore[no-untyped-def]
    frames = sliding(3, 4)
    extrapolation = FlowExtrapolation(flow)
    assert extrapolation.predict(frames[0])[0] is frames[0] and extrapolation.forward is None
    prediction, later = extrapolation.predict(frames[1], 2)
    assert extrapolation.forward is not None
    np.testing.assert_allclose(np.median(extrapolation.forward[16:-16, 16:-16], axis=(0, 1)), [3, 0], atol=0.3)
    assert prediction.shape == frames[1].shape and prediction.dtype == np.uint8
    inside = np.s_[16:-16, 16:-16]
    assert (
        psnr(prediction[inside].copy(), frames[2][inside].copy())
        > psnr(frames[1][inside].copy(), frames[2][inside].copy()) + 6
    )
    assert (
        psnr(later[inside].copy(), frames[3][inside].copy()) > psnr(later[inside].copy(), frames[2][inside].copy()) + 6
    )


def test_references_start_without_memory() -> None:
    frames = sliding(3)
    used = references()
    for frame in frames:
        for predict in used.values():
            predict(frame)
    assert all(predict(frames[0]).images[0] is frames[0] for predict in references().values()), (
        "the first frame is copied"
    )


@pytest.mark.parametrize("size", [(160, 120), (64, 48)])
def test_cost_grows_with_the_area_of_the_frame(size: tuple[int, int]) -> None:
    network = zoo.create("ae-convlstm-flow")
    small, large = step_cost(network, *size), step_cost(network, 2 * size[0], 2 * size[1])
    assert large.flops == 4 * small.flops and large.state_bytes == 4 * small.state_bytes
    assert large.parameters == small.parameters == 1_035_067
