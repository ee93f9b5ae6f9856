"""Where nothing moves."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stvae_ros import zoo
from stvae_ros.checkpoint import find
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nn.stvae_rt.static_mask import activity, motion_mask


def background() -> Tensor:
    """(1, 1, 48, 64), textured everywhere."""
    return torch.from_numpy(np.random.default_rng(0).random((1, 1, 48, 64), np.float32))


def test_nothing_is_active_only_where_all_is_as_it_was() -> None:
    last = background()
    now = last.clone()
    assert activity(now, last, 4).max() == 0
    now[..., 20, 30] += 0.01
    active = activity(now, last, 4)
    assert active.shape == (1, 1, 12, 16) and active[0, 0, 5, 7] > 0
    assert active[0, 0, 5, 5:10].min() > 0 and active[0, 0, 5, 10:].max() == 0, "and two cells around"


def test_a_standing_camera_sees_what_moves() -> None:
    last = background()
    now = last + 0.002 * torch.randn(last.shape, generator=torch.Generator().manual_seed(0))
    now[..., 16:32, 16:32] = last[..., 16:32, 13:29]
    error = (now - last).abs()
    error[..., 16:32, 16:32] = 0.001
    mask = motion_mask(now, last, error, 2)
    assert mask[..., 17:31, 17:31].mean() > 0.95, "flow explains it better than stillness"
    assert mask[..., 34:, :].max() == mask[..., :, 34:].max() == 0, "noise is no motion"


def test_of_a_plain_surface_nobody_can_tell() -> None:
    last = background()
    last[..., :20] = 0.5
    mask = motion_mask(last, last, torch.zeros_like(last), 2)
    assert mask[..., :18].min() == 1 and mask[..., 22:].max() == 0


def test_while_the_camera_moves_nothing_stands_still() -> None:
    last = background()
    now = last.roll(1, dims=3)
    now[..., :24] = last[..., :24]
    error = torch.full_like(last, 0.001)
    error[..., :24] = (now - last)[..., :24].abs()
    assert motion_mask(now, last, error, 2).min() == 1, "less than half of the image seems to"
    assert motion_mask(now, torch.zeros_like(now), error, 2).min() == 1, "there was no frame before"


@pytest.mark.parametrize("model", ["stvae-rt-s", "stvae-rt-m"])
def test_flow_beside_something_that_moves_is_zero(model: str) -> None:
    network = zoo.load(find(model))
    scene = SyntheticScene(5, 160, 128, objects=0, camera_motion=0).frame(0)
    patch = SyntheticScene(6, 32, 32, objects=0, camera_motion=0).frame(0)
    noise = np.random.default_rng(0).normal(0, 0.5, (8, *scene.shape))
    frames = (scene + noise).clip(0, 255).astype(np.float32) / 255
    for t in range(8):
        frames[t, 48:80, 40 + 3 * t : 72 + 3 * t] = patch / np.float32(255)
    with torch.inference_mode():
        last = network(torch.from_numpy(frames).permute(0, 3, 1, 2)[None])[0][-1]
    assert last.flow is not None and last.observed_flow is not None
    beside = torch.ones(128, 160, dtype=torch.bool)
    beside[36:92, 40:120] = False
    for flow in (last.flow, last.observed_flow):
        size = flow[0, :, beside].abs().amax(dim=0)
        assert (size == 0).float().mean() > 0.3 and size.mean() < 0.006, "but for a little noise"
        assert flow[0, 0, 56:72, 70:86].abs().mean() > 1.5, "the patch moves"
