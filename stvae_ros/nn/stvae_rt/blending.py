"""Mixing what else the next frame may be into the frame drawn, as far as that came out well so far.

Where motion is not sure, the picture with the least squared error is the mean of what may come. So other guesses go
into the drawn frame: the frame moved by its *observed* flow, as if motion stayed where it is in the image; the frame
moved by a flow that is smooth, as if all went with its surroundings; and the drawn frame blurred along x or y, the more
the worse it fitted around here of late. How much of each is right for this camera, least squares learn from its own
frames, as in `adaptation`. Nothing of it is trained.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros.nn.layers.blocks import up
from stvae_ros.nn.layers.portable import full_precision
from stvae_ros.nn.layers.warp import warp
from stvae_ros.nn.stvae_rt.online_correction import least_squares

GUESSES = 2
"""Frames that `other_guesses` gives."""
_TERMS = GUESSES + 2
_CELL = 16
"""Pixels; the side of the squares over which flow and errors are averaged."""
_RIDGE = 0.1
"""Of the least squares, whose errors and guesses are in units of the error of the frame drawn."""
_EXACT = 1e-6
"""Squared error, of values in [0, 1], below which a prediction came out so well that it tells nothing."""

Record = tuple[Tensor, Tensor, Tensor, Tensor]
"""The frame drawn for this one, (B, 1, h, w), and what the guesses would add to it, (B, 4, h, w), in grey and every
second pixel of both axes; sums of products of the guesses with one another, (B, 4, 4), and with the errors that
followed, (B, 4, 1)."""


def no_record(batch: int, height: int, width: int, device: torch.device) -> Record:
    """What is known before the first frame of ``height`` x ``width`` pixels."""
    half = (height // 2, width // 2)
    return (
        torch.zeros(batch, 1, *half, device=device),
        torch.zeros(batch, _TERMS, *half, device=device),
        torch.zeros(batch, _TERMS, _TERMS, device=device),
        torch.zeros(batch, _TERMS, 1, device=device),
    )


def other_guesses(frame: Tensor, observed: Tensor, predicted: Tensor, active: Tensor) -> list[Tensor]:
    """The next frame if motion stays where it is in the image, and if all goes with its surroundings, (B, C, H, W).

    frame: (B, C, H, W); observed, predicted: flow in its pixels, (B, 2, H, W); active: (B, 1, H / 16, W / 16), 0 where
    nothing moves.
    """
    smooth = F.avg_pool2d(F.avg_pool2d(predicted, _CELL), 3, 1, 1, count_include_pad=False)
    return [warp(frame, observed), warp(frame, up(smooth * active, _CELL))]


def mixed(
    frame: Tensor, drawn: Tensor, others: list[Tensor], flow: Tensor, active: Tensor, counts: Tensor, record: Record
) -> tuple[Tensor, Record]:
    """The drawn frame with the other guesses in it, and the record with this frame's.

    frame: this one; drawn, others: for the next, (B, C, H, W) in [0, 1]. flow: predicted, in pixels of them,
    (B, 2, H, W). active: (B, 1, H / 16, W / 16), 0 where nothing moves. counts: (B, 1, 1, 1), 0 where ``record`` is not
    of a true prediction, else 1.
    """
    with full_precision(frame.device):
        expected, guesses, products, followed = record
        error = _thinned(frame) - expected
        squared = error.square().mean(dim=(2, 3))[..., None]
        x, y = guesses.flatten(2), error.flatten(2).transpose(1, 2)
        weighted = x * torch.where(squared > _EXACT, counts[..., 0] / squared, 0) / x.shape[2]
        weights, products, followed = least_squares(weighted, x, y, products, followed, _RIDGE)

        errors = warp(F.avg_pool2d(error.abs(), _CELL // 2), F.avg_pool2d(flow, _CELL) / _CELL)
        blur = errors / (errors + 2 * errors.mean(dim=(2, 3), keepdim=True) + _EXACT) * active
        grey = F.pad(drawn.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        expected = grey[..., 1:-1:2, 1:-1:2]
        along_x = grey[..., 1:-1:2, :-2:2] + grey[..., 1:-1:2, 2::2] - 2 * expected
        along_y = grey[..., :-2:2, 1:-1:2] + grey[..., 2::2, 1:-1:2] - 2 * expected
        blurs = [along * up(blur, _CELL // 2) for along in (along_x, along_y)]
        record = (expected, torch.cat([_thinned(o) - expected for o in others] + blurs, dim=1), products, followed)

        # In few passes over whole frames: time goes into memory here.
        *shares, to_x, to_y = weights[..., None, None].unbind(dim=1)
        padded = F.pad(drawn, (1, 1, 1, 1), mode="replicate")
        result = (padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]).mul_(to_x)
        result.addcmul_(padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1], to_y)
        result.addcmul_(drawn, to_x + to_y, value=-2).mul_(up(blur, _CELL))
        for share, other in zip(shares, others, strict=True):
            result.addcmul_(other, share)
        return result.addcmul_(drawn, 1 - torch.stack(shares).sum(dim=0)), record


def _thinned(image: Tensor) -> Tensor:
    """Grey values of every second pixel of both axes, (B, 1, H / 2, W / 2)."""
    return image[..., ::2, ::2].mean(dim=1, keepdim=True)
