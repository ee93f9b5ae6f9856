"""Grid generator and bilinear sampler: warping images by dense flow.

Flow is in pixels, x first, and *backward*: it is defined on the grid of the result, ``warped(p) = image(p + flow(p))``.
"""

from __future__ import annotations

from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.layers.portable import cpu_inference, full_precision, portable

_FEW = 16
"""Number of channels below which the grid sampler is faster than an embedding bag."""


def pixel_grid(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Pixel coordinates, (1, 2, height, width) float32, x first."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack([x, y])[None]


def sampling_grid(flow: Tensor) -> Tensor:
    """Grid generator (arXiv 1511.06309, section 3.3): the sampling position of each output pixel.

    Args:
        flow: (B, 2, H, W) in pixels.

    Returns:
        (B, H, W, 2) float32 in the normalised [-1, 1] range of `torch.nn.functional.grid_sample` with
        ``align_corners=True``.
    """
    height, width = flow.shape[-2:]
    if portable():  # A cached grid would become a constant of the exported step and fix the size of frames.
        x, y = (torch.arange(size, dtype=torch.float32, device=flow.device) for size in (width, height))
        place = torch.stack([(flow[:, 0] + x) / (width - 1), (flow[:, 1] + y[:, None]) / (height - 1)], dim=-1)
        return 2 * place - 1
    still, scale = _still_grid(height, width, flow.device)
    return torch.addcmul(still, flow.float().permute(0, 2, 3, 1), scale)


@cache  # Never evicted, since a CUDA graph goes on reading it.
def _still_grid(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Sampling grid (1, H, W, 2) of zero flow, and the width and height of a pixel in it, (2,)."""
    with torch.inference_mode(False), torch.no_grad():
        scale = torch.tensor([2.0 / max(width - 1, 1), 2.0 / max(height - 1, 1)], device=device)
        return pixel_grid(height, width, device).permute(0, 2, 3, 1) * scale - 1.0, scale


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Warp an image by a backward flow, with bilinear sampling and border pixels repeated outside.

    Grid and sampling are never in half precision, which cannot address every pixel of a wide image.

    Args:
        image: (B, C, H, W).
        flow: (B, 2, H, W) in pixels of the image.

    Returns:
        (B, C, H, W) in float32.
    """
    with full_precision(image.device):
        image, grid = image.float(), sampling_grid(flow)
        by_row = not portable() and flow.shape[0] == 1 and image.device.type == "cpu"
        if by_row:
            # PyTorch parallelises over the batch only, so each row is passed as an image of its own.
            image, grid = image.expand(flow.shape[2], -1, -1, -1), grid.transpose(0, 1)
        moved = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
        return moved.transpose(0, 2) if by_row else moved


def sample(features: Tensor, flow: Tensor) -> Tensor:
    """`warp` for feature maps, with the result in the type of ``features`` and in channels-last memory format.

    For inference on a CPU, bilinear sampling is done as an embedding bag: each pixel is the weighted sum of four rows
    of a table that holds all channels of a pixel in a row. It is several times faster than PyTorch's grid sampler.

    Args:
        features: (B, C, H, W) of any type, at least 2x2 pixels.
        flow: (B, 2, H, W) in pixels of the feature maps.
    """
    batch, channels, height, width = features.shape
    if channels < _FEW or not cpu_inference(features):
        return warp(features, flow).to(features.dtype, memory_format=torch.channels_last)
    pixels, first_place, last_place, last_corner, neighbours = _table(height, width)
    position = torch.clamp(pixels + flow, first_place, last_place)
    corner = torch.minimum(position.floor(), last_corner)
    right, down = (position - corner).unbind(dim=1)
    both = right * down
    below = down - both
    weights = torch.stack([1 - right - below, right - both, below, both], dim=-1)
    column, row = corner.unbind(dim=1)
    first = torch.add(column, row, alpha=width).to(torch.int32)
    if batch > 1:
        first = first + torch.arange(batch, dtype=torch.int32).view(-1, 1, 1) * (height * width)
    moved = F.embedding_bag(
        (first[..., None] + neighbours).view(-1, 4),
        features.permute(0, 2, 3, 1).reshape(-1, channels),
        mode="sum",
        per_sample_weights=weights.view(-1, 4).to(features.dtype),
    )
    return moved.view(batch, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=32)
def _table(height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Positions of all pixels, bounds of positions and of their upper left neighbour, offsets of the four neighbours.

    The offsets are in rows of the table in `sample`.
    """
    with torch.inference_mode(False), torch.no_grad():
        last = torch.tensor([width - 1.0, height - 1.0]).view(1, 2, 1, 1)
        offsets = torch.tensor([0, 1, width, width + 1], dtype=torch.int32)
        return pixel_grid(height, width), torch.zeros_like(last), last, last - 1, offsets


def resize_flow(flow: Tensor, height: int, width: int) -> Tensor:
    """Resample a flow (B, 2, h, w) to (B, 2, height, width) and scale its vectors to the new pixels."""
    h, w = flow.shape[-2:]
    large = F.interpolate(flow.float(), size=(height, width), mode="bilinear", align_corners=False)
    if portable():
        return torch.cat([large[:, :1] * (width / w), large[:, 1:] * (height / h)], dim=1)
    return large * vector(width / w, height / h, flow.device)


@cache  # A CUDA graph cannot contain the copy from the host that creates it.
def vector(x: float, y: float, device: torch.device) -> Tensor:
    """The vector (x, y) as (1, 2, 1, 1), to be broadcast over a flow."""
    with torch.inference_mode(False), torch.no_grad():
        return torch.tensor([x, y], device=device).view(1, 2, 1, 1)
