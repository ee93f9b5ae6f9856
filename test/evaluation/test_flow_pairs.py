"""End-point error on image pairs."""

import math

import numpy as np
import pytest

from stvae_ros import zoo
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.flow_pairs import observed_by, pair_errors
from stvae_ros.streaming import StreamingPredictor


def test_flow_of_a_pair() -> None:
    texture = SyntheticScene(7, 200, 96, objects=0, camera_motion=0).frame(0)
    first, second = (texture[:, x : x + 96].copy() for x in (97, 100))
    truth = np.full((96, 96, 2), [-3, 0], np.float32)
    truth[:4] = np.nan
    build = {"paper": lambda size: StreamingPredictor(zoo.create("ae-convlstm-flow"), "cpu", "fp32", size)}
    errors = pair_errors(first, second, truth, build)
    assert errors["no flow"] == pytest.approx(3.0) and math.isnan(errors["paper"]), "it measures no flow"
    assert errors["DIS medium"] < 1.0
    network = zoo.create("stvae-rt-s")
    flow = observed_by(StreamingPredictor(network, "cpu", "fp32", (96, 96)), first, second)
    assert flow is not None and flow.shape == (96, 96, 2)
