"""Where nothing moves, so that flow there can be exactly zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SHIFT = 0.1
"""Pixels of the frame by which what stands still may seem to have moved."""
_NOISE = 0.004
"""Of a frame: change of grey values from which on it is certain that something moves."""
_STANDING = (0.75, 0.85)
"""Share of what has texture that stands still: below the first the camera moves, above the second it stands."""


def activity(now: Tensor, last: Tensor, cell: int) -> Tensor:
    """Whether anything changes around here, (B, 1, H / cell, W / cell) in [0, 1]: exactly 0 where all is as it was.

    now, last: (B, 1, H, W), grey values in [0, 1].
    """
    change = F.avg_pool2d((now - last).abs(), cell)
    return (F.max_pool2d(change, 5, 1, 2) * 1000).clamp(max=1)


def motion_mask(now: Tensor, last: Tensor, error: Tensor, pixel: int) -> Tensor:
    """Whether a place moves, (B, 1, H, W) in [0, 1], seen by a camera that stands still; 1 if the camera moves.

    A place stands still where the last image fits as well unmoved as moved by the flow. Of a plain surface nobody can
    tell; so it must have texture, and the same must be true of most of the image.
    now, last: (B, 1, H, W), grey values in [0, 1]. error: what is left of their difference after motion, the same
    shape. pixel: how many pixels of the frame one of them is wide.
    """
    x, y = (now[..., 1:] - now[..., :-1]).abs(), (now[..., 1:, :] - now[..., :-1, :]).abs()
    texture = F.pad(x, (0, 1)) + F.pad(y, (0, 0, 0, 1))
    means = F.avg_pool2d(torch.cat([(now - last).abs() - error, texture], dim=1), 3, 1, 1)
    gain, texture = means.split(1, dim=1)
    still = ((_SHIFT * texture - pixel * gain) / _NOISE).clamp(0, 1)
    total = texture.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    share = (still * texture).sum(dim=(1, 2, 3), keepdim=True) / total
    low, high = _STANDING
    # What is next to something that moves may be about to be covered.
    return F.max_pool2d(1 - still * ((share - low) / (high - low)).clamp(0, 1), 3, 1, 1)
