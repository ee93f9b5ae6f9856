"""What is known about one camera after one frame; each output is computed when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stvae_ros.streaming.flow import Flow, Image, invert_flow, move, resize_flow


@dataclass(eq=False)
class View:
    """A frame, the network's own next frame (C, h, w) and its backward flow to the next one, if it has flow."""

    image: Image
    decoded_frame: Tensor
    predicted_flow: Flow | None

    @cached_property
    def small_backward(self) -> Flow:
        """Backward flow at processing size, (h, w, 2) float32; zeros from a network without flow."""
        if self.predicted_flow is None:
            return np.zeros((*self.decoded_frame.shape[-2:], 2), np.float32)
        return self.predicted_flow

    @cached_property
    def decoded(self) -> Image:
        """The network's own next frame as its decoder D draws it, uint8 at processing size, grey or BGR."""
        image = self.decoded_frame.float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
        return image[..., 0] if image.shape[2] == 1 else image[..., ::-1].copy()

    @cached_property
    def backward(self) -> Flow:
        """Backward flow in pixels of the image, on the next frame's grid, (H, W, 2) float32."""
        height, width = self.image.shape[:2]
        return resize_flow(self.small_backward, width, height)

    @cached_property
    def moved(self) -> Image:
        """The predicted next frame: the image moved by the flow, or what a network without flow draws, scaled up."""
        if self.predicted_flow is None:
            return _in_the_form_of(self.image, self.decoded)
        return move(self.image, self.backward).astype(np.uint8, copy=False)


@dataclass(eq=False)
class Motion:
    """Result of one step for one camera.

    stamp: of the frame, in nanoseconds. period: time to the next frame, in nanoseconds. reset: why the memory
    was empty before this frame ("first frame", "time jumped back", ...), None if it was not.
    """

    stamp: int
    period: int
    reset: str | None
    view: View
    previous: View | None

    @property
    def next_stamp(self) -> int:
        """When the prediction is for, in nanoseconds."""
        return self.stamp + self.period

    @property
    def prediction(self) -> Image:
        """Predicted next frame, see `View.moved`; size, channels and type of the input image."""
        return self.view.moved

    @property
    def backward_flow(self) -> Flow:
        """Backward flow to the next frame, on its grid, (H, W, 2) float32 in pixels of the image."""
        return self.view.backward

    @cached_property
    def small_flow(self) -> Flow:
        """`flow` at processing size, (h, w, 2) float32, still in pixels of the image."""
        height, width = self.view.image.shape[:2]
        flow = invert_flow(self.view.small_backward)
        return flow * np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)

    @cached_property
    def flow(self) -> Flow:
        """Forward flow, (H, W, 2) float32 in pixels of the image: p is expected at p + flow(p) in the next frame."""
        height, width = self.view.image.shape[:2]
        return cv2.resize(self.small_flow, (width, height), interpolation=cv2.INTER_LINEAR).astype(
            np.float32, copy=False
        )

    @cached_property
    def surprise(self) -> NDArray[np.float32] | None:
        """Mean absolute difference of this frame to what was predicted for it, (H, W) float32 in [0, 1].

        None for the first frame after a reset, for which nothing was predicted.
        """
        if self.previous is None:
            return None
        difference = cv2.absdiff(self.view.image, self.previous.moved)
        channels = 1 if difference.ndim == 2 else difference.shape[2]
        weights = np.full((1, channels), 1 / (255 * channels), np.float32)
        return cv2.transform(difference.astype(np.float32), weights).astype(np.float32, copy=False)

    @property
    def decoded(self) -> Image:
        """The network's own next frame, see `View.decoded`."""
        return self.view.decoded


def _in_the_form_of(image: Image, picture: Image) -> Image:
    """``picture`` with the size and the channels of ``image``."""
    scaled = cv2.resize(picture, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if scaled.ndim != image.ndim:
        scaled = cv2.cvtColor(scaled, cv2.COLOR_GRAY2BGR if image.ndim == 3 else cv2.COLOR_BGR2GRAY)
    return scaled.astype(np.uint8, copy=False)
