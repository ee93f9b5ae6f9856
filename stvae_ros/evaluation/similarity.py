"""Structural similarity, apart from the other metrics because it needs torchmetrics."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import structural_similarity_index_measure


def ssim(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Structural similarity (Wang et al., 2004) of 8-bit images (H, W) or (H, W, C), of 11x11 pixels or more."""
    first, second = (
        torch.from_numpy(image.astype(np.float32) / 255).reshape(*image.shape[:2], -1).permute(2, 0, 1)[None]
        for image in (prediction, truth)
    )
    return float(structural_similarity_index_measure(first, second, data_range=1.0))  # type: ignore[arg-type]
