"""Aligning two images to a fraction of a pixel, once flow is known to about a pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.sampling import warp

_LIMIT = 2.0
"""Pixels that one step may go; further, the images are not linear."""


def alignment_step(current: Tensor, last: Tensor, flow: Tensor, window: int, damping: Tensor) -> Tensor:
    """How to change ``flow`` so that ``current(p) = last(p + flow(p))`` holds better, with the same shape as ``flow``.

    One step of Gauss and Newton on the squared difference, summed over windows (Lucas and Kanade, 1981): nothing in it
    is learnt but ``damping``, which is added to the squared gradients and holds flat places where they are.
    current, last: (B, 1, H, W). flow: (B, 2, H / 2, W / 2) in pixels of the images. window: in pixels of the flow.
    """
    full = F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)
    moved = warp(last, full)
    padded = F.pad((moved + current) / 2, (1, 1, 1, 1), mode="replicate")
    x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    difference = current - moved
    products = torch.cat([x * x, x * y, y * y, x * difference, y * difference], dim=1)
    sums = F.avg_pool2d(F.avg_pool2d(products, 2), window, 1, window // 2)
    xx, xy, yy, xt, yt = sums.split(1, dim=1)
    xx, yy = xx + damping, yy + damping
    step = torch.cat([yy * xt - xy * yt, xx * yt - xy * xt], dim=1) / (xx * yy - xy * xy)
    return step.clamp(-_LIMIT, _LIMIT)
