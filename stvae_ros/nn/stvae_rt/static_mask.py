"""Static regions of the image, where the flow must be exactly zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.layers.blocks import box_sum, dilate

_SHIFT = 0.1
"""Apparent motion of a static place, in pixels of the frame."""
_NOISE = 0.004
"""Change of grey values from which motion is certain."""
_STANDING = (0.75, 0.85)
"""Static share of the textured area: below the first the camera moves, above the second it stands still."""


def activity(now: Tensor, last: Tensor, cell: int) -> Tensor:
    """Change around each cell of the image.

    Args:
        now: Grey image (B, 1, H, W) in [0, 1].
        last: Previous grey image (B, 1, H, W).
        cell: Side of a cell in pixels.

    Returns:
        (B, 1, H / cell, W / cell) in [0, 1], exactly 0 where nothing changes within two cells.
    """
    change = F.avg_pool2d((now - last).abs(), cell)
    return (F.max_pool2d(change, 5, 1, 2) * 1000).clamp(max=1)


def motion_mask(now: Tensor, last: Tensor, error: Tensor, pixel: int) -> Tensor:
    """Mask of what moves in front of a camera that stands still. It is 1 everywhere if the camera moves.

    A place is static if the last image fits without motion as well as with the flow. This can be decided on textured
    surfaces only, and only if most of the textured area is static.

    Args:
        now: Grey image (B, 1, H, W) in [0, 1].
        last: Previous grey image (B, 1, H, W).
        error: Absolute difference of the two after warping by the flow (B, 1, H, W).
        pixel: Width of one pixel of these images, in pixels of the frame.

    Returns:
        (B, 1, H, W) in [0, 1].
    """
    x, y = forward_differences(now)
    sums = box_sum(torch.cat([(now - last).abs() - error, x.abs() + y.abs()], dim=1), 3)
    gain, texture = (sums / 9).split(1, dim=1)
    still = torch.sub(texture * (_SHIFT / _NOISE), gain, alpha=pixel / _NOISE).clamp(0, 1)
    total = texture.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    share = (still * texture).sum(dim=(1, 2, 3), keepdim=True) / total
    low, high = _STANDING
    # A pixel next to something that moves may be covered in the next frame.
    return dilate(1 - still * ((share - low) / (high - low)).clamp(0, 1))


def forward_differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the next pixel along x and y, (B, C, H, W) each, zero at the last column and row."""
    padded = F.pad(image, (0, 1, 0, 1), mode="replicate")
    return padded[..., :-1, 1:] - image, padded[..., 1:, :-1] - image
