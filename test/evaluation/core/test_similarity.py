"""Structural similarity of several predictions at once."""

from __future__ import annotations

from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch

# Not importorskip: pytest's launch plugin imports every module and would skip the whole folder.
if find_spec("torchmetrics") is None:
    pytestmark = pytest.mark.skip(reason="needs torchmetrics: pip install '.[eval]'")
else:
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    from stvae_ros.evaluation.core.similarity import scales, similarities, ssim

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


@pytest.mark.parametrize(("height", "width", "count"), [(201, 177, 5), (120, 161, 4), (23, 40, 2), (11, 30, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_as_torchmetrics(height: int, width: int, count: int, channels: int) -> None:
    rng = np.random.default_rng(height)
    shape = (height, width) if channels == 1 else (height, width, channels)
    truth = cv2.blur(rng.integers(0, 256, shape, np.uint8), (5, 5))
    noisy = [np.clip(truth + rng.normal(0, sigma, shape), 0, 255).astype(np.uint8) for sigma in (0, 4, 20)]
    assert scales(height, width) == count
    found = similarities(noisy, truth, np.ones((height, width), bool))
    assert found[0] == (1, 1, 1, 1)
    betas = tuple(beta / sum(BETAS[:count]) for beta in BETAS[:count])
    tensors = [
        torch.from_numpy(image.astype(np.float32) / 255).reshape(height, width, -1).permute(2, 0, 1)[None]
        for image in (truth, *noisy)
    ]
    for image, tensor, figures in zip(noisy, tensors[1:], found, strict=True):
        assert figures.ssim == pytest.approx(ssim(image, truth), abs=1e-4)
        expected = multiscale_structural_similarity_index_measure(tensor, tensors[0], betas=betas, data_range=1.0)
        assert figures.ms_ssim == pytest.approx(float(expected), abs=1e-4)
        assert figures.ssim_moving == pytest.approx(figures.ssim) and figures.ms_ssim_moving == figures.ms_ssim


def test_only_what_moves_counts() -> None:
    truth = cv2.blur(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), (3, 3))
    wrong = truth.copy()
    wrong[:, :20] = 128
    left, right = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    left[:, :14], right[:, 40:] = True, True
    (bad,), (good,) = similarities([wrong], truth, left), similarities([wrong], truth, right)
    assert bad.ssim == good.ssim < 1 and bad.ssim_moving < 0.3 and good.ssim_moving == pytest.approx(1)
    assert bad.ms_ssim_moving < 0.7 < 0.95 < good.ms_ssim_moving
    (still,) = similarities([wrong], truth, np.zeros((64, 64), bool))
    assert np.isnan(still.ssim_moving) and np.isnan(still.ms_ssim_moving) and still.ssim == bad.ssim
    (small,) = similarities([truth[:8, :8]], truth[:8, :8], left[:8, :8])
    assert np.isnan(small.ssim) and np.isnan(small.ms_ssim)
