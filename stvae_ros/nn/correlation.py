"""Matching features of two frames: by how much, and where to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.sampling import pixel_grid


def local_correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Scalar products of each feature of ``first`` with those of ``second`` within ``radius`` pixels.

    first, second: (B, C, H, W). Returns (B, K * K, H, W) with K = 2 * radius + 1; channel ``K * (dy + radius) +
    (dx + radius)`` is that of the displacement (dx, dy); beyond the border it is 0. Each line, a tile at a time, is
    matched with K lines in one matrix product, of which a band is kept: several times faster than shifting by every
    displacement.
    """
    batch, channels, height, width = first.shape
    side, tile = 2 * radius + 1, _tile(width)
    length = tile + 2 * radius
    padded = F.pad(second, (radius,) * 4).permute(0, 2, 3, 1)
    strips = padded.unfold(2, length, tile).permute(0, 1, 2, 4, 3)
    lines = torch.stack([strips[:, dy : dy + height] for dy in range(side)], dim=3)
    queries = first.permute(0, 2, 3, 1).reshape(-1, tile, channels)
    scores = queries @ lines.reshape(len(queries), side * length, channels).transpose(1, 2)
    # Row x holds the scores of pixel x with K lines of the other image; its window starts x further to the right, so
    # that windows lie at a regular distance: they are read off without a copy.
    windows = scores.flatten(1).unfold(1, (side - 1) * length + side, side * length + 1).unfold(2, side, length)
    return windows.reshape(batch, height, width, side * side).permute(0, 3, 1, 2)


def _tile(width: int) -> int:
    """Largest divisor of ``width`` that wastes little of a product, or all of it."""
    return next((tile for tile in range(24, 7, -1) if width % tile == 0), width)


def global_match(first: Tensor, second: Tensor, sharpness: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement of each pixel of ``first`` to where ``second`` is like it, anywhere in the image.

    first, second: (B, C, H, W). The displacement, (B, 2, H, W) in pixels, x first, is the mean over all positions,
    weighted by the softmax of ``sharpness`` times the scalar product. With it comes its certainty, (B, 1, H, W) in
    [0, 1]: 1 / (1 + v) with v the variance of the position in square pixels. On a plain surface, which is like itself
    everywhere, the mean is in the middle of the surface and means nothing; there it is 0.
    """
    batch, _, height, width = first.shape
    scores = first.flatten(2).transpose(1, 2) @ second.flatten(2)
    weights = (scores.float() * sharpness).softmax(dim=2)
    grid = pixel_grid(height, width, first.device)
    places = torch.cat([grid, grid.square().sum(dim=1, keepdim=True)], dim=1).flatten(2).transpose(1, 2)
    with torch.autocast(first.device.type, enabled=False):
        target, square = (weights @ places).transpose(1, 2).view(batch, 3, height, width).split([2, 1], dim=1)
    variance = (square - target.square().sum(dim=1, keepdim=True)).clamp(min=0)
    return target - grid, 1 / (1 + variance)
