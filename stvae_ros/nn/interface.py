"""The step interface that every network of the package implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

State = tuple[Tensor, ...]
"""Memory of a network between two frames: a flat tuple of tensors, batch first."""


class FlowLevel(NamedTuple):
    """Flows at one scale of a pyramid, (B, 2, h, w) in pixels of the frame, as in `Prediction`."""

    observed: Tensor
    predicted: Tensor | None

    def scaled(self, factor: int) -> FlowLevel:
        """Both flows times ``factor``."""
        return FlowLevel(factor * self.observed, None if self.predicted is None else factor * self.predicted)


class Prediction(NamedTuple):
    """Output of a network for one frame.

    Attributes:
        frame: Predicted next frame, (B, C, H, W), nominally in [0, 1] but not clamped.
        flow: Backward flow in pixels of the frame, (B, 2, H, W), x first, on the grid of the next frame:
            ``next(p) = current(p + flow(p))``. None for a network without flow.
        logits: Logits of the frame, (B, C, H, W), from a network that ends in a sigmoid, else None.
        observed_flow: Backward flow (B, 2, H, W) of this frame, ``current(p) = last(p + flow(p))``, from a network that
            measures it, else None.
        confidence: Confidence in the predicted frame, (B, 1, h, w) in [0, 1] at any resolution, from a network that
            estimates it, else None.
        levels: Coarser estimates of both flows, for training, the coarsest first.
    """

    frame: Tensor
    flow: Tensor | None
    logits: Tensor | None = None
    observed_flow: Tensor | None = None
    confidence: Tensor | None = None
    levels: tuple[FlowLevel, ...] = ()


class FramePredictor(nn.Module, ABC):
    """Recurrent next-frame predictor whose memory is an explicit input and output.

    The module keeps nothing between steps, so states can be batched, saved, moved and exported.
    """

    in_channels: int
    """Channels of the input frame: 1 for grey, 3 for RGB."""
    draws_detail = False
    """Whether the predicted frame is as sharp as the input, and so better than the input warped by the flow."""
    size_multiple: int
    """Height and width of a frame must be multiples of this."""
    frame_size: tuple[int, int] | None = None
    """(height, width) of the only frames that the network accepts; None for any multiple of `size_multiple`."""

    @abstractmethod
    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Empty memory for frames of (batch, C, height, width), on the device of the module.

        Raises:
            ValueError: The network does not accept that size.
        """

    @abstractmethod
    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """Process one frame, (B, C, H, W) in [0, 1], and return the prediction and the new memory."""

    def forward(self, frames: Tensor, state: State | None = None) -> tuple[list[Prediction], State]:
        """Process a sequence.

        Args:
            frames: (B, T, C, H, W) in [0, 1].
            state: Memory to start from; None for empty memory.

        Returns:
            One prediction for each frame, and the new memory.
        """
        batch, length, _, height, width = frames.shape
        if state is None:
            state = self.initial_state(batch, height, width)
        predictions = []
        for t in range(length):
            prediction, state = self.step(frames[:, t], state)
            predictions.append(prediction)
        return predictions, state

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError unless the network accepts frames of this height and width."""
        if self.frame_size not in (None, (height, width)):
            raise ValueError(
                f"the network cannot take frames of {width}x{height}: "
                f"its memory is for {self.frame_size[1]}x{self.frame_size[0]} alone"
            )
        multiple = self.size_multiple
        if height < multiple or width < multiple or height % multiple or width % multiple:
            raise ValueError(
                f"the network cannot take frames of {width}x{height}: "
                f"width and height must be positive multiples of {multiple}; the nearest size is "
                f"{_nearest(width, multiple)}x{_nearest(height, multiple)}"
            )


def _nearest(length: int, multiple: int) -> int:
    """The multiple that is nearest to a length, at least one."""
    return max(round(length / multiple), 1) * multiple
