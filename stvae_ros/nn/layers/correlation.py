"""Matching features of two frames: by how much, and where to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.layers.portable import full_precision, portable
from stvae_ros.nn.layers.warp import pixel_grid


def local_correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Scalar products of each feature of ``first`` with those of ``second`` within ``radius`` pixels.

    first, second: (B, C, H, W). Returns (B, K * K, H, W) with K = 2 * radius + 1; channel ``K * (dy + radius) +
    (dx + radius)`` is that of the displacement (dx, dy); beyond the border it is 0. Each line, a tile at a time, is
    matched with K lines in one matrix product, of which a band is kept: several times faster than shifting by every
    displacement.
    """
    if portable():
        return _by_whole_lines(first, second, radius)
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


def _by_whole_lines(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """`local_correlation` for any size of frame, without views of overlapping memory."""
    batch, _, height, width = first.shape
    side = 2 * radius + 1
    padded = F.pad(second, (radius,) * 4).permute(0, 2, 3, 1)
    lines = torch.stack([padded[:, dy : dy + height] for dy in range(side)], dim=2)
    scores = first.permute(0, 2, 3, 1)[:, :, None] @ lines.transpose(3, 4)
    # Read with lines longer by one, the scores of pixel x move x to the left: windows begin at the first column.
    skewed = F.pad(scores.flatten(3), (0, width)).unflatten(3, (width, width + 2 * radius + 1))
    return skewed[..., :side].permute(0, 2, 4, 1, 3).reshape(batch, side * side, height, width)


def _tile(width: int) -> int:
    """Largest divisor of ``width`` that wastes little of a product, or all of it."""
    return next((tile for tile in range(24, 7, -1) if width % tile == 0), width)


def best_match(window: Tensor, sharpness: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement to where the scores of `local_correlation` are best, to a fraction of a pixel.

    window: (B, K * K, H, W). The displacement, (B, 2, H, W) in pixels, x first, is the mean over the window, weighted
    by the softmax of ``sharpness`` times the scores. With it comes its certainty, (B, 1, H, W) in [0, 1]:
    1 / (1 + v) with v the variance of the position in square pixels. On a plain surface, which is like itself
    everywhere, it is near 0.
    """
    side = round(int(window.shape[1]) ** 0.5)
    radius = side // 2
    weights = (window.permute(0, 2, 3, 1).float() * sharpness).softmax(dim=3)
    grid = pixel_grid(side, side, window.device) - radius
    places = torch.cat([grid, grid.square().sum(dim=1, keepdim=True)], dim=1).flatten(2)[0].t()
    with full_precision(window.device):
        moments = (weights @ places).permute(0, 3, 1, 2)
    step, square = moments.split([2, 1], dim=1)
    variance = (square - step.square().sum(dim=1, keepdim=True)).clamp(min=0)
    return step, 1 / (1 + variance)
