"""Grid generator and bilinear sampler: moving images by dense flow.

Flow is in pixels, x first, and *backward*: b lives on the next frame's grid, next(p) = current(p + b(p)).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_grid(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Pixel coordinates, (1, 2, height, width) float32, x first."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack([x, y])[None]


def sampling_grid(flow: Tensor) -> Tensor:
    """Grid generator (arXiv 1511.06309, section 3.3): where each output pixel reads from.

    flow: (B, 2, H, W) in pixels. Returns (B, H, W, 2) float32 in the normalised [-1, 1] range of
    `torch.nn.functional.grid_sample` with ``align_corners=True``.
    """
    height, width = flow.shape[-2:]
    positions = pixel_grid(height, width, flow.device) + flow.float()
    scale = torch.tensor([2.0 / max(width - 1, 1), 2.0 / max(height - 1, 1)], device=flow.device)
    return positions.permute(0, 2, 3, 1) * scale - 1.0


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample ``image`` at p + flow(p), bilinear, the border pixel repeated outside.

    image (B, C, H, W), flow (B, 2, H, W) in pixels of the image. Returns (B, C, H, W) in float32: grid
    and sampling are never done in half precision, whose 8 to 11 bits cannot address a pixel of a wide image.
    """
    with torch.autocast(image.device.type, enabled=False):
        return F.grid_sample(
            image.float(), sampling_grid(flow), mode="bilinear", padding_mode="border", align_corners=True
        )


def resize_flow(flow: Tensor, height: int, width: int) -> Tensor:
    """Resample a flow (B, 2, h, w) to (B, 2, height, width), its vectors scaled to the new pixels."""
    h, w = flow.shape[-2:]
    scale = torch.tensor([width / w, height / h], device=flow.device).view(1, 2, 1, 1)
    return F.interpolate(flow.float(), size=(height, width), mode="bilinear", align_corners=False) * scale
