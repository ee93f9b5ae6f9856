"""Metrics and the predictors to beat."""

import math

import numpy as np
import pytest

from stvae_ros import zoo
from stvae_ros.data.synthetic import SyntheticScene
from stvae_ros.evaluation.cost import step_cost
from stvae_ros.evaluation.metrics import PSNR_CAP, end_point_error, psnr
from stvae_ros.evaluation.references import FlowExtrapolation, dis_flow, farneback_flow, grey, reference_flows
from stvae_ros.evaluation.replay import Score, copy_last, evaluate, ours, references
from stvae_ros.streaming import StreamingPredictor


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
    frames = [(scene.frame(t), scene.truth(t).forward_flow) for t in range(8)]
    network = ours(StreamingPredictor(zoo.create("ae-convlstm-flow"), "cpu", "fp32", (64, 48)))
    scores = evaluate(frames, {"untrained": network, **references()}, warm_up=2)
    copied = scores["copy last"]
    assert all(len(score.psnrs) == 5 and len(score.errors) == 6 for score in scores.values())
    assert scores["untrained"].psnr == pytest.approx(copied.psnr), "an untrained network copies"
    for name in ("DIS ultrafast", "DIS fast", "DIS medium", "Farneback"):
        assert scores[name].psnr > copied.psnr + 3
        assert scores[name].end_point_error < 0.5 * copied.end_point_error


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
    score = evaluate([(scene.frame(t), scene.truth(t).forward_flow) for t in range(5)], {"copy": copy_last})["copy"]
    assert score.psnrs == [PSNR_CAP] * 2 and score.psnr == PSNR_CAP
    assert score.end_point_error == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(("frames", "warm_up", "predictions"), [(6, 2, 3), (6, 0, 5), (2, 2, 0), (3, 2, 0), (1, 0, 0)])
def test_evaluate_counts_each_frame_once(frames: int, warm_up: int, predictions: int) -> None:
    shown = []

    def predict(image: np.ndarray) -> tuple[np.ndarray, None]:
        shown.append(int(image[0, 0]))
        return image, None

    images = [(np.full((4, 4), t, np.uint8), None) for t in range(frames)]
    score = evaluate(images, {"one": predict}, warm_up)["one"]
    assert shown == list(range(frames))
    assert len(score.psnrs) == predictions
    assert len(score.milliseconds) == max(frames - warm_up, 0)
    assert score.errors == [] and math.isnan(score.end_point_error)
    assert score.psnrs == pytest.approx([20 * math.log10(255)] * predictions, abs=1e-3), "against the next frame"


def test_figures_of_a_score() -> None:
    score = Score(psnrs=[10.0, 40.0], errors=[1.0, 2.0, 6.0], milliseconds=[1.0, 2.0, 100.0])
    assert (score.psnr, score.end_point_error, score.median_milliseconds) == (25.0, 3.0, 2.0)
    assert all(math.isnan(v) for v in (Score().psnr, Score().end_point_error, Score().median_milliseconds))


@pytest.mark.parametrize("name", ["DIS ultrafast", "DIS fast", "DIS medium", "Farneback"])
def test_classical_flow_of_a_sliding_texture(name: str) -> None:
    first, second = (grey(frame) for frame in sliding(3, 2))
    flow = reference_flows()[name](first, second)
    assert flow.shape == (96, 96, 2) and flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow[16:-16, 16:-16], axis=(0, 1)), [3, 0], atol=0.3)


@pytest.mark.parametrize("flow", [dis_flow("medium"), farneback_flow], ids=["DIS", "Farneback"])
def test_extrapolation_goes_on_the_way_things_went(flow) -> None:  # type: ignore[no-untyped-def]
    frames = sliding(3)
    extrapolation = FlowExtrapolation(flow)
    assert extrapolation.predict(frames[0]) is frames[0] and extrapolation.forward is None
    prediction = extrapolation.predict(frames[1])
    assert extrapolation.forward is not None
    np.testing.assert_allclose(np.median(extrapolation.forward[16:-16, 16:-16], axis=(0, 1)), [3, 0], atol=0.3)
    assert prediction.shape == frames[1].shape and prediction.dtype == np.uint8
    inside = np.s_[16:-16, 16:-16]
    assert (
        psnr(prediction[inside].copy(), frames[2][inside].copy())
        > psnr(frames[1][inside].copy(), frames[2][inside].copy()) + 6
    )


def test_references_start_without_memory() -> None:
    frames = sliding(3)
    used = references()
    for frame in frames:
        for predict in used.values():
            predict(frame)
    assert all(predict(frames[0])[0] is frames[0] for predict in references().values()), "the first frame is copied"


@pytest.mark.parametrize("size", [(160, 120), (64, 48)])
def test_cost_grows_with_the_area_of_the_frame(size: tuple[int, int]) -> None:
    network = zoo.create("ae-convlstm-flow")
    small, large = step_cost(network, *size), step_cost(network, 2 * size[0], 2 * size[1])
    assert large.flops == 4 * small.flops and large.state_bytes == 4 * small.state_bytes
    assert large.parameters == small.parameters == 1_035_067
