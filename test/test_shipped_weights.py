"""The shipped weights on frames that they were never trained on."""

from pathlib import Path

import numpy as np
import pytest

from stvae_ros import zoo
from stvae_ros.data.media import read_frames
from stvae_ros.data.synthetic import SyntheticScene
from stvae_ros.evaluation.metrics import PSNR_CAP
from stvae_ros.evaluation.replay import Predict, Shown, evaluate, mean, ours, references
from stvae_ros.streaming import StreamingPredictor

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "video" / "eval"


MODELS = ["ae-convlstm-flow", "stvae-rt-m"]


def predictors(model: str) -> dict[str, Predict]:
    return {"ours": ours(StreamingPredictor.from_weights(zoo.find(model), device="cpu")), **references()}


@pytest.mark.parametrize("model", MODELS)
def test_better_than_copying_on_new_synthetic_scenes(model: str) -> None:
    gains, errors = [], []
    for seed in (9001, 9002, 9003, 9004):
        scene = SyntheticScene(seed, 320, 240, max_speed=6.0)
        frames = [Shown(scene.frame(t), scene.truth(t).forward_flow) for t in range(40)]
        scores = evaluate(frames, predictors(model))
        gains.append(mean(scores["ours"].psnrs) - mean(scores["copy last"].psnrs))
        errors.append(mean(scores["ours"].errors) / mean(scores["copy last"].errors))
    assert np.mean(gains) > 0.5, f"dB above copying: {gains}"
    assert np.mean(errors) < 0.8, f"end-point error relative to no flow: {errors}"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["vtest_480x360.mp4", "udacity_solidWhiteRight.mp4"])
def test_better_than_copying_on_real_video(name: str, model: str) -> None:
    if not (CLIPS / name).is_file():
        pytest.skip(f"the evaluation clip {name} is not published with this package; it is not there")
    frames = [Shown(frame) for _, frame in zip(range(60), read_frames(CLIPS / name), strict=False)]
    scores = evaluate(frames, predictors(model))
    assert mean(scores["ours"].psnrs) > mean(scores["copy last"].psnrs)


def test_a_still_scene_is_copied_exactly() -> None:
    image = SyntheticScene(9005, 320, 240).frame(0)
    scores = evaluate([Shown(image)] * 8, predictors("stvae-rt-m"))
    assert mean(scores["ours"].psnrs) == PSNR_CAP and mean(scores["ours"].flicker) == 0
