"""Other guesses at the next frame are mixed in as far as they came out well."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.stvae_rt.blending import ALTERNATIVES, alternative_predictions, blended, initial_blend

SIZE = (64, 96)
STILL = torch.zeros(1, 2, *SIZE)
ACTIVE = torch.ones(1, 1, 4, 6)
ONE = torch.ones(1, 1, 1, 1)


def scene(seed: int) -> Tensor:
    coarse = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1)


def gains(truth: str, frames: int = 12) -> list[float]:
    """By how much the error of each frame is less than without, as a share of it; ``truth`` is what always follows."""
    record, following, shares = initial_blend(1, *SIZE, torch.device("cpu")), scene(0), []
    for seed in range(frames):
        drawn, others = scene(seed + 100), [scene(seed + 200), scene(seed + 300)]
        result, record = blended(following, drawn, others, STILL, ACTIVE, ONE * (seed > 0), record)
        padded = F.pad(drawn, (1, 1, 1, 1), mode="replicate")
        following = {
            "drawn": drawn,
            "first guess": others[0],
            "half of the second guess": (drawn + others[1]) / 2,
            "blurred along x": (padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:] + drawn) / 3,
        }[truth]
        noise = 0.01 * torch.randn(drawn.shape, generator=torch.Generator().manual_seed(seed))
        following = following + noise
        shares.append(1 - float((result - following).square().sum() / (drawn - following).square().sum()))
    return shares


@pytest.mark.parametrize("truth", ["first guess", "half of the second guess", "blurred along x"])
def test_what_comes_out_well_is_mixed_in(truth: str) -> None:
    shares = gains(truth)
    assert shares[0] == 0, "nothing is known yet"
    assert min(shares[-4:]) > 0.7


def test_what_does_not_is_not() -> None:
    assert min(gains("drawn")[1:]) > -0.05


def test_exact_predictions_tell_nothing() -> None:
    frame, record = scene(0), initial_blend(1, *SIZE, torch.device("cpu"))
    others = [scene(1), scene(2)]
    for _ in range(3):
        result, record = blended(frame, frame, others, STILL, ACTIVE, ONE, record)
        assert torch.equal(result, frame)
        assert not record[2].any()


def test_cameras_of_a_batch_do_not_mix() -> None:
    def show(cameras: list[int]) -> list[Tensor]:
        record, results = initial_blend(len(cameras), *SIZE, torch.device("cpu")), []
        for index in range(4):
            frame, drawn, *others = (torch.cat([scene(1000 * c + 10 * index + k) for c in cameras]) for k in range(4))
            many = [x.expand(len(cameras), -1, -1, -1) for x in (STILL, ACTIVE, ONE)]
            result, record = blended(frame, drawn, others, *many, record)
            results.append(result)
        return results

    both = show([0, 1])
    for camera in (0, 1):
        for alone, together in zip(show([camera]), both, strict=True):
            torch.testing.assert_close(together[camera : camera + 1], alone, atol=1e-5, rtol=0)


def test_nothing_is_blurred_where_nothing_moves() -> None:
    record = initial_blend(1, *SIZE, torch.device("cpu"))
    for seed in range(6):
        drawn = scene(seed)
        result, record = blended(scene(seed + 1), drawn, [drawn, drawn], STILL, torch.zeros_like(ACTIVE), ONE, record)
        torch.testing.assert_close(result, drawn, atol=1e-6, rtol=0)


def test_the_guesses_move_the_frame_by_observed_and_by_smooth_flow() -> None:
    frame = scene(0)
    right, mean = torch.zeros(1, 2, *SIZE), torch.zeros(1, 2, *SIZE)
    right[:, 0] = 2
    mean[:, 1, :, ::2] = 2
    observed, smooth = alternative_predictions(frame, right, mean, ACTIVE)
    assert ALTERNATIVES == 2
    torch.testing.assert_close(observed[..., :-2], frame[..., 2:], atol=1e-5, rtol=0)
    torch.testing.assert_close(smooth[..., :-1, :], frame[..., 1:, :], atol=1e-5, rtol=0)
    still = alternative_predictions(frame, STILL, mean, torch.zeros_like(ACTIVE))
    for guess in still:
        torch.testing.assert_close(guess, frame, atol=1e-5, rtol=0)
