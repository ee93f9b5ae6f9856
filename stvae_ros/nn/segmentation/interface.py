"""Interface of the semantic segmenters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import Prediction, State


class Segmentation(NamedTuple):
    """Output of a segmenter for one frame.

    Attributes:
        scores: log-probability of each class, (B, K, H, W) float32, up to a constant per pixel.
        prediction: prediction of the next frame; None from a segmenter without a frame predictor.
    """

    scores: Tensor
    prediction: Prediction | None = None


StagedStep = Generator[None, None, tuple[Segmentation, State]]
"""A step that yields after each stage of the network, and returns the segmentation and the new state."""


class Segmenter(nn.Module, ABC):
    """A network that labels the pixels of a frame. Its state is passed in and out explicitly."""

    classes: int
    """K, number of classes."""
    in_channels = 3
    """Channels of a frame, RGB."""
    min_size: int
    """Smallest height and width of a frame in pixels."""
    recurrent = False
    """Whether the segmenter uses earlier frames."""

    @abstractmethod
    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Return the empty state for frames of (batch, C, height, width), on the device of the weights.

        Raises:
            ValueError: the frames are too small.
        """

    @abstractmethod
    def staged_step(self, frame: Tensor, state: State) -> StagedStep:
        """Run `step` one stage at a time, so that the caller can do other work between two stages."""

    def step(self, frame: Tensor, state: State) -> tuple[Segmentation, State]:
        """Segment one frame.

        Args:
            frame: (B, C, H, W) in [0, 1].
            state: from `initial_state` or the last step.

        Returns:
            The segmentation and the new state.
        """
        stages = self.staged_step(frame, state)
        while True:
            try:
                next(stages)
            except StopIteration as end:
                result: tuple[Segmentation, State] = end.value
                return result

    def forward(self, frames: Tensor) -> list[Segmentation]:
        """Segment a sequence (B, T, C, H, W), starting from the empty state."""
        batch, length, _, height, width = frames.shape
        state = self.initial_state(batch, height, width)
        segmentations = []
        for t in range(length):
            segmentation, state = self.step(frames[:, t], state)
            segmentations.append(segmentation)
        return segmentations

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError if frames of this size are too small."""
        if min(height, width) < self.min_size:
            raise ValueError(
                f"{type(self).__name__} cannot take frames of {width}x{height}: "
                f"width and height must be at least {self.min_size}"
            )


def to_labels(scores: Tensor) -> Tensor:
    """Return the most likely class of each pixel, (B, H, W) int64, of scores (B, K, H, W)."""
    return torch.argmax(scores, dim=1)
