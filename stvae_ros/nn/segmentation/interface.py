"""The interface that every semantic segmenter of the package offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import Prediction, State


class Segmentation(NamedTuple):
    """What a segmenter says of one frame.

    scores: logarithms of the probability of each class, (B, K, H, W) float32, up to a constant a pixel.
    prediction: of the next frame, from a segmenter that predicts it too, else None.
    """

    scores: Tensor
    prediction: Prediction | None = None


Pieces = Generator[None, None, tuple[Segmentation, State]]
"""A step in pieces: it yields between them, and returns what the whole step does."""


class Segmenter(nn.Module, ABC):
    """Labels the pixels of a frame; what it remembers of frames before is passed in and out explicitly.

    classes: K. in_channels: of the frame, 3 for RGB. min_size: least height and width in pixels; any size above does.
    recurrent: whether it remembers anything.
    """

    classes: int
    in_channels = 3
    min_size: int
    recurrent = False

    @abstractmethod
    def initial_state(self, batch: int, height: int, width: int) -> State:
        """The empty memory for frames of (batch, C, height, width). Raises ValueError for a size that will not do."""

    @abstractmethod
    def pieces(self, frame: Tensor, state: State) -> Pieces:
        """One step on a frame (B, C, H, W) in [0, 1], in pieces, so that other work may come in between."""

    def step(self, frame: Tensor, state: State) -> tuple[Segmentation, State]:
        """One step on a frame, (B, C, H, W) in [0, 1]: what it shows, and the new memory."""
        pieces = self.pieces(frame, state)
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                result: tuple[Segmentation, State] = end.value
                return result

    def forward(self, frames: Tensor) -> list[Segmentation]:
        """Run over a sequence, (B, T, C, H, W), from empty memory; one segmentation a frame."""
        batch, length, _, height, width = frames.shape
        state, found = self.initial_state(batch, height, width), []
        for t in range(length):
            segmentation, state = self.step(frames[:, t], state)
            found.append(segmentation)
        return found

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError unless it can take frames of this height and width."""
        if min(height, width) < self.min_size:
            raise ValueError(
                f"{type(self).__name__} cannot take frames of {width}x{height}: "
                f"width and height must be at least {self.min_size}"
            )


def to_labels(scores: Tensor) -> Tensor:
    """Scores (B, K, H, W) -> the most likely class of each pixel, (B, H, W) int64."""
    return torch.argmax(scores, dim=1)
