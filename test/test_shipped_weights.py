"""The shipped weights on frames that they were never trained on."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from stvae_ros import zoo
from stvae_ros.checkpoint import find
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.core.metrics import PSNR_CAP
from stvae_ros.streaming import StreamingPredictor

# Not importorskip: pytest's launch plugin imports every module and would skip the whole folder.
if find_spec("torchmetrics") is None:
    pytestmark = pytest.mark.skip(reason="needs torchmetrics: pip install '.[eval]'")
else:
    from stvae_ros.cli.evaluate.frames import read_samples
    from stvae_ros.evaluation.core.loop import PERIOD, Sample
    from stvae_ros.evaluation.core.methods import Network, Predict, references
    from stvae_ros.evaluation.next_frame import evaluate

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DEVELOPMENT_CLIPS = [
    "video/eval/vtest_480x360.mp4",
    "video/eval/udacity_solidWhiteRight.mp4",
    "video/eval/KITTI_sequence_2/image_l",
    "camvid/val",
    "davis/JPEGImages/car-shadow",
]
"""Clips on which the constants of stvae-rt were chosen."""
REAL_TIME = ["stvae-rt-s", "stvae-rt-m", "stvae-rt-l"]
MODELS = ["ae-convlstm-flow", *REAL_TIME]


def predictors(model: str, *others: str) -> dict[str, Predict]:
    known = references()
    network = StreamingPredictor.from_weights(find(model), device="cpu")
    return {"ours": Network(network)} | {name: known[name] for name in ("copy last", *others)}


@pytest.mark.parametrize("model", MODELS)
def test_better_than_copying_on_new_synthetic_scenes(model: str) -> None:
    gains, errors = [], []
    for seed in (9001, 9002):
        scene = SyntheticScene(seed, 320, 240, max_speed=6.0)
        frames = [Sample(scene.frame(t), t * PERIOD, flow=scene.truth(t).forward_flow) for t in range(24)]
        scores = evaluate(frames, predictors(model))
        gains.append(scores["ours"].mean("psnr") - scores["copy last"].mean("psnr"))
        errors.append(scores["ours"].mean("epe") / scores["copy last"].mean("epe"))
    assert np.mean(gains) > 0.5, f"dB above copying: {gains}"
    assert np.mean(errors) < 0.8, f"end-point error relative to no flow: {errors}"


def needs(source: str) -> Path:
    if not (DATA / source).exists():
        pytest.skip(f"the evaluation clip {source} is not published with this package; it is not there")
    return DATA / source


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["vtest_480x360.mp4", "udacity_solidWhiteRight.mp4"])
def test_better_than_copying_on_real_video(name: str, model: str) -> None:
    scores = evaluate(read_samples(str(needs(f"video/eval/{name}")), (320, 240), 40), predictors(model))
    assert scores["ours"].mean("psnr") > scores["copy last"].mean("psnr")


def test_better_than_classical_flow_on_real_video() -> None:
    gains, over_copy = {}, {}
    for source in DEVELOPMENT_CLIPS:
        scores = evaluate(read_samples(str(needs(source)), (320, 240), 40), predictors("stvae-rt-m", "DIS medium"))
        psnrs = {name: score.mean("psnr") for name, score in scores.items()}
        gains[source] = psnrs["ours"] - psnrs["DIS medium"]
        over_copy[source] = psnrs["ours"] - psnrs["copy last"]
    assert min(over_copy.values()) > 0, f"dB above copying: {over_copy}"
    assert np.mean(list(gains.values())) > 1.0, f"dB above DIS: {gains}"
    assert sum(gain > 0 for gain in gains.values()) >= 4, f"dB above DIS: {gains}"


@pytest.mark.parametrize("model", REAL_TIME)
def test_a_still_scene_is_copied_exactly(model: str) -> None:
    image = SyntheticScene(9005, 320, 240).frame(0)
    scores = evaluate([Sample(image, t * PERIOD) for t in range(8)], predictors(model))
    assert scores["ours"].mean("psnr") == PSNR_CAP and scores["ours"].mean("flicker") == 0


@pytest.mark.parametrize("model", REAL_TIME)
def test_a_wrong_flow_in_memory_is_forgotten(model: str) -> None:
    """Where motion went wrong, however far, matching starts from rest again instead of going astray for good."""
    network = zoo.load(find(model))
    scene = SyntheticScene(9006, 320, 240, max_speed=6.0)
    frames = [torch.from_numpy(scene.frame(t)).permute(2, 0, 1)[None].flip(1).float() / 255 for t in range(16)]
    errors: dict[str, list[float]] = {}
    for case in ("right", "wrong"):
        state = network.initial_state(1, 240, 320)
        errors[case] = []
        with torch.inference_mode():
            for t, (frame, following) in enumerate(pairwise(frames)):
                if case == "wrong" and t == 6:
                    canvas, last, flow, *others = state
                    state = (canvas, last, torch.full_like(flow, 70.0), *others)
                prediction, state = network.step(frame, state)
                errors[case].append((prediction.frame - following).square().mean().item())
    assert errors["wrong"][:6] == errors["right"][:6]
    assert errors["wrong"][6] > errors["right"][6], "it was wrong"
    assert np.mean(errors["wrong"][9:]) < 1.2 * np.mean(errors["right"][9:])


@pytest.mark.parametrize("model", REAL_TIME)
def test_uneven_motion_is_learnt_from_the_stream(model: str) -> None:
    wide = torch.from_numpy(SyntheticScene(9007, 480, 240).frame(0)).permute(2, 0, 1)[None].flip(1).float() / 255
    steps = [2, 6] * 9
    errors = {}
    for adaptation in (True, False):
        network = zoo.load(find(model))
        network.adaptation = adaptation  # type: ignore[assignment]
        state, left, off = network.initial_state(1, 240, 320), 0, []
        with torch.inference_mode():
            for step in steps:
                prediction, state = network.step(wide[..., left : left + 320], state)
                assert prediction.flow is not None
                off.append(float((prediction.flow[:, 0] - step).abs().mean()))
                left += step
        errors[adaptation] = np.mean(off[-6:])
    assert errors[True] < 0.5 * errors[False], f"pixels: {errors}"
