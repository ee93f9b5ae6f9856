"""Subpixel alignment of two images by one Lucas-Kanade step, from a flow that is right to about a pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.layers.blocks import block_sum, box_sum, up
from stvae_ros.nn.layers.warp import warp

_LIMIT = 2.0
"""Largest step in pixels. The linear approximation of the images does not hold further."""


def alignment_step(current: Tensor, last: Tensor, flow: Tensor, window: int, damping: Tensor) -> Tensor:
    """Correction of ``flow`` for ``current(p) = last(p + flow(p))``.

    One Gauss-Newton step on the squared difference, summed over windows (Lucas and Kanade, 1981).

    Args:
        current: Grey image (B, 1, H, W).
        last: Previous grey image (B, 1, H, W).
        flow: Backward flow (B, 2, H / 2, W / 2) in pixels of the images.
        window: Side of the windows, in pixels of the flow.
        damping: Scalar added to the squared gradients. It suppresses steps on plain surfaces.

    Returns:
        The correction, of the shape of ``flow``, each component within 2 pixels.
    """
    moved = warp(last, up(flow))
    padded = F.pad(moved + current, (1, 1, 1, 1), mode="replicate")
    x = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    y = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    difference = current - moved
    products = torch.cat([x * x, x * y, y * y, x * difference, y * difference], dim=1)
    xx, xy, yy, xt, yt = box_sum(block_sum(products), window).split(1, dim=1)
    # x and y are 4 times the gradient of the mean image, and the sums are over 4 * window**2 pixels.
    damping = damping * (4**2 * 4 * window**2)
    xx, yy = xx + damping, yy + damping
    determinant = torch.addcmul(xx * yy, xy, xy, value=-1)
    numerator = torch.cat([torch.addcmul(yy * xt, xy, yt, value=-1), torch.addcmul(xx * yt, xy, xt, value=-1)], dim=1)
    return (4 * numerator / determinant).clamp(-_LIMIT, _LIMIT)
