"""Metrics of images and of flow."""

import math

import numpy as np
import pytest

from stvae_ros.evaluation.core.metrics import PSNR_CAP, end_point_error, psnr, static_pixels


@pytest.mark.parametrize("error", [1, 10, 16, 255])
def test_psnr_in_closed_form(error: int) -> None:
    black = np.zeros((6, 5), np.uint8)
    assert psnr(black, black + np.uint8(error)) == pytest.approx(20 * math.log10(255 / error), abs=1e-3)
    colour = np.zeros((4, 4, 3), np.uint8)
    assert psnr(colour, colour + np.uint8(error)) == pytest.approx(20 * math.log10(255 / error), abs=1e-3)


def test_psnr_is_capped_for_exact_and_nearly_exact_images() -> None:
    first = np.zeros((1000, 1000), np.uint8)
    second = first.copy()
    second[0, 0] = 1
    assert psnr(first, first) == psnr(first, second) == PSNR_CAP == 60.0


def test_psnr_of_chosen_pixels() -> None:
    black, half = np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8)
    half[:, 8:] = 255
    right = half > 0
    assert psnr(black, half, right) == pytest.approx(0.0) and psnr(black, half, ~right) == PSNR_CAP
    assert psnr(black, half) == pytest.approx(10 * math.log10(2), abs=1e-3)


def test_end_point_error() -> None:
    flow, truth = np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)
    truth[0, 0] = 3, 4
    assert end_point_error(flow, truth) == pytest.approx(5 / 4)
    assert end_point_error(flow, truth, np.array([[True, False], [False, True]])) == pytest.approx(5 / 2)


def test_end_point_error_of_chosen_pixels() -> None:
    truth = np.zeros((1, 3, 2), np.float32)
    flow = np.array([[[3, 4], [-6, 8], [0, 0]]], np.float32)
    assert end_point_error(flow, truth) == pytest.approx(5.0)
    assert end_point_error(flow, truth, np.array([[False, True, False]])) == pytest.approx(10.0)
    assert end_point_error(flow, flow) == 0.0


def test_static_pixels_have_texture_and_may_have_noise() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(80, 120, (40, 60)).astype(np.uint8)
    first[:, 40:] = 100
    second = first + rng.integers(0, 3, first.shape).astype(np.uint8)
    second[:, :14] = np.roll(first[:, :14], 1, axis=0)
    static = static_pixels(first, second)
    assert static[:, 18:36].all() and not static[:, :10].any(), "noise on texture; texture that moves"
    assert not static[:, 44:].any(), "a plain surface"
