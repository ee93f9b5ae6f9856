"""Errors of grid generator and sampler alone: a frame rebuilt from the other one and the true flow."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stvae_ros.data.media import Image
from stvae_ros.nn.layers.warp import warp

GROUPS = ("visible", "occluded", "border", "all")


def regions(flow: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
    """Sort the pixels of the first frame into `GROUPS`. Pixels of unknown flow are in no group.

    border: the pixel lands outside the second frame. occluded: another pixel, whose flow differs by more than a pixel,
    lands within 1.5 pixels of the same place. One of the two is hidden; the flow does not say which one. visible: the
    others.

    Args:
        flow: (H, W, 2) in pixels, NaN where it is unknown.

    Returns:
        A mask (H, W) for each group.
    """
    height, width = flow.shape[:2]
    known = np.isfinite(flow[..., 0]) & np.isfinite(flow[..., 1])
    motion = np.where(known[..., None], flow, 0)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    to_x, to_y = x + motion[..., 0], y + motion[..., 1]
    inside = known & (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
    column, row = np.rint(to_x).astype(int), np.rint(to_y).astype(int)
    contested = np.zeros((height, width), bool)
    for axis in (0, 1):
        component = motion[..., axis]
        least = np.full((height, width), np.inf, np.float32)
        most = np.full((height, width), -np.inf, np.float32)
        np.minimum.at(least, (row[inside], column[inside]), component[inside])
        np.maximum.at(most, (row[inside], column[inside]), component[inside])
        here = (row[inside], column[inside])
        below = component[inside] - cv2.erode(least, np.ones((3, 3)))[here]
        above = cv2.dilate(most, np.ones((3, 3)))[here] - component[inside]
        contested[inside] |= (below > 1) | (above > 1)
    border = known & ~inside
    return {"visible": inside & ~contested, "occluded": contested, "border": border, "all": known}


def warping_errors(first: Image, second: Image, flow: NDArray[np.float32]) -> dict[str, tuple[float, float, float]]:
    """For each of `GROUPS` its share of the known pixels, mean absolute and mean squared error, colours in [0, 1].

    The first frame is rebuilt from the second by the sampler, at p + flow(p).
    """
    source = torch.from_numpy(second).permute(2, 0, 1)[None].float() / 255
    motion = torch.from_numpy(np.nan_to_num(flow)).permute(2, 0, 1)[None]
    rebuilt = warp(source, motion)[0].permute(1, 2, 0).numpy()
    difference = np.abs(rebuilt - first.astype(np.float32) / 255).mean(axis=2)
    squared = ((rebuilt - first.astype(np.float32) / 255) ** 2).mean(axis=2)
    groups = regions(flow)
    known = max(int(groups["all"].sum()), 1)
    return {
        name: (float(mask.sum() / known), _mean(difference[mask]), _mean(squared[mask]))
        for name, mask in groups.items()
    }


def _mean(values: NDArray[np.float32]) -> float:
    return float(values.mean()) if values.size else float("nan")
