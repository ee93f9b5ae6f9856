"""The result of one step for one camera. Each output is computed when it is first used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stvae_ros.streaming.flow import Flow, Image, invert_flow, move, resize_flow
from stvae_ros.streaming.host_copy import HostCopy


@dataclass(eq=False)
class FramePrediction:
    """A frame, and the prediction of a later one.

    Attributes:
        image: the frame, (H, W) grey or (H, W, 3) BGR, uint8.
        small_frame: the input of the network, (h, w, C) uint8, grey or RGB, h x w the processing size.
        decoded_frame: the predicted frame as the network draws it, (C, h, w).
        predicted_flow: backward flow from the predicted frame to this one, (h, w, 2); None without flow.
        draws_detail: see `FramePredictor`.
        trust: see `Prediction.confidence`, (1, h', w'), on the device. It is copied to the host only when it is used.
    """

    image: Image
    small_frame: HostCopy
    decoded_frame: HostCopy
    predicted_flow: Flow | None
    draws_detail: bool = False
    trust: Tensor | None = None

    @cached_property
    def small(self) -> Image:
        """The input of the network, (h, w, C) uint8, grey or RGB."""
        return np.asarray(self.small_frame.tensor.numpy(), np.uint8)

    @cached_property
    def small_backward(self) -> Flow:
        """Backward flow at processing size, (h, w, 2) float32; zeros for a network without flow."""
        if self.predicted_flow is None:
            return np.zeros((*self.decoded_frame.tensor.shape[-2:], 2), np.float32)
        return self.predicted_flow

    @cached_property
    def _drawn(self) -> Image:
        """The predicted frame as the network draws it, (h, w, C) uint8, grey or RGB."""
        drawn = self.decoded_frame.tensor.float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
        return np.ascontiguousarray(drawn.numpy())

    @cached_property
    def decoded(self) -> Image:
        """The predicted frame as the decoder D draws it, uint8 at processing size, grey or BGR."""
        return self._drawn[..., 0] if self._drawn.shape[2] == 1 else self._drawn[..., ::-1].copy()

    @cached_property
    def backward(self) -> Flow:
        """Backward flow in pixels of the image, on the next frame's grid, (H, W, 2) float32."""
        height, width = self.image.shape[:2]
        return resize_flow(self.small_backward, width, height)

    @cached_property
    def next_image(self) -> Image:
        """The predicted frame in the size and channels of the image.

        It is the image warped by the flow, which keeps the detail of the full resolution. For a network that draws
        detail, the difference between its drawn frame and its warped input is added. For a network without flow it is
        the drawn frame.
        """
        if self.predicted_flow is None or (self.draws_detail and self._drawn.shape[:2] == self.image.shape[:2]):
            return _in_the_form_of(self.image, self.decoded)
        moved = move(self.image, self.backward).astype(np.uint8, copy=False)
        if not self.draws_detail:
            return moved
        change = cv2.subtract(self._drawn, move(self.small, self.small_backward), dtype=cv2.CV_32F)
        change = change.reshape(*self._drawn.shape)
        change = change.mean(axis=2) if moved.ndim == 2 else np.ascontiguousarray(change[..., ::-1])
        change = _scaled(change.astype(np.float32, copy=False), self.image)
        return cv2.add(moved, change, dtype=cv2.CV_8U).astype(np.uint8, copy=False)


@dataclass(eq=False)
class StepResult:
    """Result of one step for one camera.

    Attributes:
        stamp: of the frame, in nanoseconds.
        period: expected time to the next frame, in nanoseconds.
        reset: why the memory was empty before this frame ("first frame", "time jumped back", ...); None if it was not.
        views: predictions of the next frame, of the one after it, and so on to the horizon.
        previous: the prediction of this frame, made at the last one; None after a reset.
        observed: backward flow to the last frame at processing size, (2, h, w); None if the network has none.
    """

    stamp: int
    period: int
    reset: str | None
    views: Sequence[FramePrediction]
    previous: FramePrediction | None
    observed: HostCopy | None = None

    @property
    def image(self) -> Image:
        """The frame."""
        return self.views[0].image

    @property
    def next_stamp(self) -> int:
        """Time of the predicted frame in nanoseconds."""
        return self.stamp + len(self.views) * self.period

    @property
    def prediction(self) -> Image:
        """Predicted frame at the horizon, in the size, channels and type of the input image."""
        return self.views[-1].next_image

    @property
    def backward_flow(self) -> Flow:
        """Backward flow to the predicted frame, on its grid, (H, W, 2) float32 in pixels of the image."""
        return self.views[-1].backward

    @cached_property
    def small_observed(self) -> Flow | None:
        """`observed_flow` at processing size and in its pixels, (h, w, 2) float32."""
        if self.observed is None:
            return None
        return np.ascontiguousarray(self.observed.tensor.float().permute(1, 2, 0).numpy())

    @cached_property
    def observed_flow(self) -> Flow | None:
        """Backward flow to the last frame, (H, W, 2) float32 in pixels of the image; None if the network has none.

        ``image(p) = last(p + flow(p))``.
        """
        if self.small_observed is None:
            return None
        height, width = self.image.shape[:2]
        return resize_flow(self.small_observed, width, height)

    @cached_property
    def small_flow(self) -> Flow:
        """`flow` at processing size, (h, w, 2) float32, still in pixels of the image."""
        return _forward(self.views[-1])

    @cached_property
    def flow(self) -> Flow:
        """Forward flow, (H, W, 2) float32 in pixels of the image: p is expected at p + flow(p) when predicted."""
        return _scaled(self.small_flow, self.image)

    @property
    def next_flow(self) -> Flow:
        """Forward flow to the next frame, for any horizon; otherwise like `flow`."""
        return self.flow if len(self.views) == 1 else _scaled(_forward(self.views[0]), self.image)

    @cached_property
    def confidence(self) -> NDArray[np.float32] | None:
        """Confidence in the predicted frame and its flow, on its grid, (H, W) float32 in [0, 1].

        None if the network has none.
        """
        trust = self.views[-1].trust
        if trust is None:
            return None
        return _scaled(trust[0].float().cpu().numpy(), self.image)

    @cached_property
    def surprise(self) -> NDArray[np.float32] | None:
        """Mean absolute difference of this frame from its prediction, (H, W) float32 in [0, 1].

        None for the first frame after a reset.
        """
        if self.previous is None:
            return None
        difference = cv2.absdiff(self.image, self.previous.next_image)
        channels = 1 if difference.ndim == 2 else difference.shape[2]
        weights = np.full((1, channels), 1 / (255 * channels), np.float32)
        return cv2.transform(difference.astype(np.float32), weights).astype(np.float32, copy=False)

    @property
    def decoded(self) -> Image:
        """The predicted frame as the decoder draws it, see `FramePrediction.decoded`."""
        return self.views[-1].decoded


def _forward(view: FramePrediction) -> Flow:
    """Forward flow at processing size, (h, w, 2) float32 in pixels of the image."""
    height, width = view.image.shape[:2]
    flow = invert_flow(view.small_backward)
    return flow * np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)


def _scaled(small: NDArray[np.float32], image: Image) -> NDArray[np.float32]:
    """Scale values at processing size to the size of ``image``."""
    height, width = image.shape[:2]
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)


def _in_the_form_of(image: Image, picture: Image) -> Image:
    """Convert ``picture`` to the size and the channels of ``image``."""
    scaled = cv2.resize(picture, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if scaled.ndim != image.ndim:
        scaled = cv2.cvtColor(scaled, cv2.COLOR_GRAY2BGR if image.ndim == 3 else cv2.COLOR_BGR2GRAY)
    return scaled.astype(np.uint8, copy=False)
