"""The step interface that every network of the package offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

State = tuple[Tensor, ...]


class FlowLevel(NamedTuple):
    """Flows at one scale of a pyramid, (B, 2, h, w) in pixels of the frame, as in `Prediction`."""

    observed: Tensor
    predicted: Tensor | None


class Prediction(NamedTuple):
    """What a network says after seeing one frame.

    frame: predicted next frame, (B, C, H, W), nominally in [0, 1] but not clamped.
    flow: backward flow in pixels of the frame, (B, 2, H, W), x first, on the next frame's grid:
        ``next(p) = current(p + flow(p))``. None for a network without flow.
    logits: of the frame, (B, C, H, W), from a network that ends in a sigmoid, else None.
    observed_flow: backward flow (B, 2, H, W) of the frame just seen, ``current(p) = last(p + flow(p))``, from a network
        that measures it, else None.
    confidence: how far the predicted frame can be trusted, (B, 1, h, w) in [0, 1] at any resolution, from a network
        that knows, else None.
    levels: coarser estimates of both flows on the way, for training, the coarsest first.
    """

    frame: Tensor
    flow: Tensor | None
    logits: Tensor | None = None
    observed_flow: Tensor | None = None
    confidence: Tensor | None = None
    levels: tuple[FlowLevel, ...] = ()


class FramePredictor(nn.Module, ABC):
    """A recurrent next-frame predictor whose memory is passed in and out explicitly.

    Nothing is kept in the module between steps, so states can be batched, saved, moved and exported.
    """

    in_channels: int
    """Channels of the input frame: 1 for grey, 3 for RGB."""
    draws_detail = False
    """Whether the predicted frame is as sharp as the input, so that it is better than the input moved by the flow."""
    size_multiple: int
    """Height and width of a frame must be multiples of this."""
    frame_size: tuple[int, int] | None = None
    """(height, width) of the only frames that it can take; None for any multiple of `size_multiple`."""

    @abstractmethod
    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Return the empty memory for frames of (batch, C, height, width), on the module's device.

        Raises ValueError if the network cannot take that size.
        """

    @abstractmethod
    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """Take one frame, (B, C, H, W) in [0, 1], and return the prediction and the new memory."""

    def forward(self, frames: Tensor, state: State | None = None) -> tuple[list[Prediction], State]:
        """Run over a sequence, (B, T, C, H, W), from ``state`` or empty memory; one prediction a frame."""
        batch, length, _, height, width = frames.shape
        if state is None:
            state = self.initial_state(batch, height, width)
        predictions = []
        for t in range(length):
            prediction, state = self.step(frames[:, t], state)
            predictions.append(prediction)
        return predictions, state

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError unless the network can take frames of this height and width."""
        name = type(self).__name__
        if self.frame_size not in (None, (height, width)):
            raise ValueError(
                f"this {name} cannot take frames of {width}x{height}: "
                f"its memory is for {self.frame_size[1]}x{self.frame_size[0]} alone"
            )
        multiple = self.size_multiple
        if height < multiple or width < multiple or height % multiple or width % multiple:
            raise ValueError(
                f"{name} cannot take frames of {width}x{height}: "
                f"width and height must be positive multiples of {multiple}"
            )
