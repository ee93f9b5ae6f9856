"""Classical optical flow by OpenCV."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from stvae_ros.streaming.flow import Flow, Image

FlowFunction = Callable[[Image, Image], Flow]
"""Takes two grey images (H, W) and returns the flow (H, W, 2) from the first to the second, on the first one's grid."""


def grey(image: Image) -> Image:
    """Convert (H, W) or (H, W, 3) BGR uint8 to (H, W)."""
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)


def dis_flow(preset: str) -> FlowFunction:
    """OpenCV's dense inverse search (Kroeger et al., ECCV 2016).

    Args:
        preset: "ultrafast", "fast" or "medium".
    """
    estimator = cv2.DISOpticalFlow.create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}"))
    return lambda first, second: estimator.calc(first, second, _zeros(first)).astype(np.float32, copy=False)


def farneback_flow(first: Image, second: Image) -> Flow:
    """OpenCV's Farneback flow with the settings of its documentation."""
    flow = cv2.calcOpticalFlowFarneback(first, second, _zeros(first), 0.5, 3, 15, 3, 5, 1.2, 0)
    return flow.astype(np.float32, copy=False)


def _zeros(image: Image) -> Flow:
    return np.zeros((*image.shape[:2], 2), np.float32)


def classical_flows() -> dict[str, FlowFunction]:
    """All classical estimators by name."""
    return {**{f"DIS {name}": dis_flow(name) for name in ("ultrafast", "fast", "medium")}, "Farneback": farneback_flow}
