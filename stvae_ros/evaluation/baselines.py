"""What a roboticist would use without this package: copying, and extrapolating classical flow."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from stvae_ros.streaming.flow import Flow, Image, invert_flow, move

FlowFunction = Callable[[Image, Image], Flow]


def grey(image: Image) -> Image:
    """(H, W) uint8 from (H, W) or (H, W, 3) BGR."""
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)


def dis_flow(preset: str) -> FlowFunction:
    """OpenCV's dense inverse search (Kroeger et al., ECCV 2016); ultrafast, fast or medium."""
    presets = {
        "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
        "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
        "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    }
    estimator = cv2.DISOpticalFlow.create(presets[preset])
    return lambda first, second: estimator.calc(first, second, _no_flow(first)).astype(np.float32, copy=False)


def farneback_flow(first: Image, second: Image) -> Flow:
    """OpenCV's Farneback flow with the settings of its documentation."""
    flow = cv2.calcOpticalFlowFarneback(first, second, _no_flow(first), 0.5, 3, 15, 3, 5, 1.2, 0)
    return flow.astype(np.float32, copy=False)


def _no_flow(image: Image) -> Flow:
    return np.zeros((*image.shape[:2], 2), np.float32)


class FlowExtrapolation:
    """Predicts by assuming that the flow between the last two frames goes on.

    The flow from t to t-1 lives on the grid of t; negated, it says where the pixels of t go next, and inverted
    it samples the next frame from this one. Twice that flow leads to the frame after it, and so on.
    """

    def __init__(self, flow: FlowFunction) -> None:
        self._flow = flow
        self._last: Image | None = None
        self.observed: Flow | None = None

    @property
    def forward(self) -> Flow | None:
        """Predicted motion to the next frame on the last frame's grid, None after the first frame."""
        return None if self.observed is None else -self.observed

    def predict(self, image: Image, horizon: int = 1) -> list[Image]:
        """Take a frame, (H, W) or (H, W, 3) uint8, and return the next ``horizon`` ones; the first frame is copied.

        `observed` then holds the flow to the frame before, on this frame's grid, None after the first frame.
        """
        self.observe(image)
        return [self.ahead(image, step) for step in range(1, horizon + 1)]

    def observe(self, image: Image, measure: bool = True) -> None:
        """Take a frame; `observed` is measured only if asked for."""
        current = grey(image)
        last, self._last = self._last, current
        self.observed = self._flow(current, last) if measure and last is not None else None

    def ahead(self, image: Image, step: int) -> Image:
        """The frame ``step`` after ``image``, the one last taken; copied where no flow was measured."""
        if self.observed is None:
            return image
        return move(image, invert_flow(-step * self.observed)).astype(np.uint8, copy=False)


def reference_flows() -> dict[str, FlowFunction]:
    """All classical estimators by name."""
    return {**{f"DIS {name}": dis_flow(name) for name in ("ultrafast", "fast", "medium")}, "Farneback": farneback_flow}
