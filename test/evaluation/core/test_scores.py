"""Scores and confusion counts."""

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from stvae_ros.evaluation.core.scores import Confusion, Score, mean


def test_mean_and_median() -> None:
    score = Score()
    score["ms"].extend([1.0, 2.0, 100.0])
    assert score.median("ms") == 2.0 and score.mean("ms") == pytest.approx(103 / 3)
    assert math.isnan(score.median("psnr")) and math.isnan(score.mean("psnr")) and math.isnan(mean([]))


def test_confusion_by_hand() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8))
    confusion.add(np.array([[1]], np.uint8), np.array([[7]], np.uint8))
    np.testing.assert_allclose(confusion.iou, [1 / 2, 1 / 3])
    assert confusion.mean_iou == pytest.approx(5 / 12) and confusion.accuracy == pytest.approx(1 / 2)
    assert confusion.unlabelled == pytest.approx(1 / 4)


@pytest.mark.skipif(find_spec("torchmetrics") is None, reason="needs torchmetrics: pip install '.[eval]'")
def test_the_same_counts_as_torchmetrics() -> None:
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    found, truth = np.random.default_rng(0).integers(0, 7, (2, 40, 50)).astype(np.uint16)
    found[found == 6] = 65535
    confusion = Confusion(5)
    confusion.add(found, truth)
    target = np.where(truth < 5, truth.astype(np.int64), -1)
    known = torch.from_numpy(np.minimum(found, 5).astype(np.int64)), torch.from_numpy(target)
    expected = multiclass_confusion_matrix(*known, num_classes=6, ignore_index=-1)
    assert np.array_equal(confusion.counts, expected.numpy()[:5])
