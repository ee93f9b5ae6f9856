"""Colours of events."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OFF, NONE, ON = 0, 128, 255
"""Grey levels of OFF, no event and ON."""
_GREY = np.array([OFF, NONE, ON], np.uint8)
_COLORS = np.array([[235, 90, 30], [255, 255, 255], [40, 40, 220]], np.uint8)
"""BGR of OFF (blue), no event (white) and ON (red)."""


def events_to_grey(counts: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Draws signed counts (H, W) as (H, W) uint8: OFF is black, no event is grey, ON is white."""
    return _GREY[np.sign(counts).astype(np.intp) + 1]


def events_to_color(counts: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Draws signed counts (H, W) as (H, W, 3) uint8 BGR: OFF is blue, no event is white, ON is red."""
    return _COLORS[np.sign(counts).astype(np.intp) + 1]
