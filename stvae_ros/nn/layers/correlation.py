"""Local correlation of the features of two frames, and the displacement of the best match."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.layers.portable import full_precision, portable
from stvae_ros.nn.layers.warp import pixel_grid


def local_correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Scalar products of each feature of ``first`` with those of ``second`` within ``radius`` pixels.

    Each line is matched with K lines in one matrix product, a tile at a time, and a band of the product is kept. This
    is several times faster than shifting ``second`` by every displacement.

    Args:
        first: (B, C, H, W).
        second: (B, C, H, W).
        radius: Largest displacement along each axis, in pixels.

    Returns:
        (B, K * K, H, W) with K = 2 * radius + 1. Channel ``K * (dy + radius) + (dx + radius)`` belongs to the
        displacement (dx, dy). Outside the image the product is 0.
    """
    if portable():
        return _by_whole_lines(first, second, radius)
    batch, channels, height, width = first.shape
    side, tile = 2 * radius + 1, _tile(width)
    length = tile + 2 * radius
    padded = F.pad(second, (radius,) * 4).permute(0, 2, 3, 1)
    lines = padded.unfold(2, length, tile).unfold(1, side, 1).permute(0, 1, 2, 5, 4, 3)
    queries = first.permute(0, 2, 3, 1).reshape(-1, tile, channels)
    scores = queries @ lines.reshape(len(queries), side * length, channels).transpose(1, 2)
    # Row x holds the scores of pixel x with K lines of the other image. Its window starts x columns further to the
    # right, so the windows are at a regular distance and can be read as a view.
    windows = scores.flatten(1).unfold(1, (side - 1) * length + side, side * length + 1).unfold(2, side, length)
    return windows.reshape(batch, height, width, side * side).permute(0, 3, 1, 2)


def _by_whole_lines(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """`local_correlation` for frames of any size, without views of overlapping memory."""
    batch, _, height, width = first.shape
    side = 2 * radius + 1
    padded = F.pad(second, (radius,) * 4).permute(0, 2, 3, 1)
    lines = torch.stack([padded[:, dy : dy + height] for dy in range(side)], dim=2)
    scores = first.permute(0, 2, 3, 1)[:, :, None] @ lines.transpose(3, 4)
    # With lines longer by one, the scores of pixel x move x columns to the left: windows begin at the first column.
    skewed = F.pad(scores.flatten(3), (0, width)).unflatten(3, (width, width + 2 * radius + 1))
    return skewed[..., :side].permute(0, 2, 4, 1, 3).reshape(batch, side * side, height, width)


def _tile(width: int) -> int:
    """Width of a tile: the largest divisor of ``width`` that wastes little of a product, else ``width``."""
    return next((tile for tile in range(24, 7, -1) if width % tile == 0), width)


def best_match(window: Tensor, sharpness: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement of the best score of `local_correlation`, to a fraction of a pixel.

    The displacement is the mean over the window, weighted by the softmax of ``sharpness`` times the scores.

    Args:
        window: Scores (B, K * K, H, W).
        sharpness: Scalar.

    Returns:
        The displacement (B, 2, H, W) in pixels, x first, and its certainty (B, 1, H, W) in [0, 1]: 1 / (1 + v) with v
        the variance of the position in square pixels. The certainty is near 0 on plain surfaces.
    """
    side = round(int(window.shape[1]) ** 0.5)
    weights = (window.permute(0, 2, 3, 1).float() * sharpness).softmax(dim=3)
    places = (_places.__wrapped__ if portable() else _places)(side, window.device)
    with full_precision(window.device):
        moments = (weights @ places).permute(0, 3, 1, 2)
    step, square = moments.split([2, 1], dim=1)
    variance = (square - step.square().sum(dim=1, keepdim=True)).clamp(min=0)
    return step, 1 / (1 + variance)


@cache  # Never evicted, since a CUDA graph goes on reading it. Not for export, whose tensors hold no data.
def _places(side: int, device: torch.device) -> Tensor:
    """Position x, y in the window and its squared distance from the centre, (side * side, 3)."""
    with torch.inference_mode(False), torch.no_grad():
        grid = pixel_grid(side, side, device) - side // 2
        return torch.cat([grid, grid.square().sum(dim=1, keepdim=True)], dim=1).flatten(2)[0].t()
