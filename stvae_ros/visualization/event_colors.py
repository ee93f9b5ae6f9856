"""Events as pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OFF, NONE, ON = 0, 128, 255
_COLORS = np.array([[235, 90, 30], [255, 255, 255], [40, 40, 220]], np.uint8)
"""BGR of OFF, none and ON: blue, white, red."""


def events_to_grey(counts: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Signed counts (H, W) as black where OFF, grey where none, white where ON, (H, W)."""
    return np.array([OFF, NONE, ON], np.uint8)[np.sign(counts).astype(np.intp) + 1]


def events_to_color(counts: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Signed counts (H, W) as blue where OFF, white where none, red where ON, (H, W, 3) BGR."""
    return _COLORS[np.sign(counts).astype(np.intp) + 1]
