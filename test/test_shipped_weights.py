"""The shipped weights on frames that they were never trained on."""

from pathlib import Path

import numpy as np
import pytest

from stvae_ros import zoo
from stvae_ros.data.media import read_frames
from stvae_ros.data.synthetic import SyntheticScene
from stvae_ros.evaluation.replay import copy_last, evaluate, ours
from stvae_ros.streaming import StreamingPredictor

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "video" / "eval"


def predictors() -> dict:
    predictor = StreamingPredictor.from_weights(zoo.find("ae-convlstm-flow"), device="cpu")
    return {"ours": ours(predictor), "copy": copy_last}


def test_better_than_copying_on_new_synthetic_scenes() -> None:
    gains, errors = [], []
    for seed in (9001, 9002, 9003, 9004):
        scene = SyntheticScene(seed, 320, 240, max_speed=6.0)
        frames = [(scene.frame(t), scene.truth(t).forward_flow) for t in range(40)]
        scores = evaluate(frames, predictors())
        gains.append(scores["ours"].psnr - scores["copy"].psnr)
        errors.append(scores["ours"].end_point_error / scores["copy"].end_point_error)
    assert np.mean(gains) > 0.5, f"dB above copying: {gains}"
    assert np.mean(errors) < 0.8, f"end-point error relative to no flow: {errors}"


@pytest.mark.parametrize("name", ["vtest_480x360.mp4", "udacity_solidWhiteRight.mp4"])
def test_better_than_copying_on_real_video(name: str) -> None:
    if not (CLIPS / name).is_file():
        pytest.skip(f"the evaluation clip {name} is not published with this package; it is not there")
    frames = [(frame, None) for _, frame in zip(range(60), read_frames(CLIPS / name), strict=False)]
    scores = evaluate(frames, predictors())
    assert scores["ours"].psnr > scores["copy"].psnr
