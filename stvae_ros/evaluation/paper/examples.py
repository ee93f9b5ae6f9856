"""Predictions of a few validation sequences, kept beside a row's result, so that they can be drawn without weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stvae_ros.data.moving_mnist import MovingMnist, render
from stvae_ros.files import replaced
from stvae_ros.nn.interface import FramePredictor

COUNT = 3
"""Number of sequences."""
_SEEN = 3


@dataclass(frozen=True)
class Examples:
    """Validation sequences and their predictions, for a binary or a grey row.

    Attributes:
        seen: the last frames seen, (N, 3, S, S) uint8.
        truth: the frames to predict, (N, S, S) uint8.
        true_motion: on the grid of ``truth``, where each pixel moved, (N, S, S, 2) float16, in pixels.
        predicted: the predicted frames, (N, S, S) uint8.
        motion: the predicted motion, like ``true_motion``; without elements if the network predicts no flow.
    """

    seen: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    true_motion: NDArray[np.float16]
    predicted: NDArray[np.uint8]
    motion: NDArray[np.float16]

    def save(self, path: Path) -> None:
        """Write as a compressed .npz file, whole or not at all."""
        with replaced(path) as file:
            np.savez_compressed(file, **self.__dict__)

    @classmethod
    def load(cls, path: Path) -> Examples:
        """Read what `save` wrote. Raises ValueError for another file."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**arrays)
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not the examples of a row ({error}); evaluate the row again") from error


@torch.inference_mode()
def make_examples(
    network: FramePredictor, data: MovingMnist, binary: bool, device: str | torch.device = "cpu"
) -> Examples:
    """Predict the frame after the last one of the first sequences of ``data``."""
    items = [data[index] for index in range(min(COUNT, len(data)))]
    batch = {key: torch.stack([item[key] for item in items]).to(device) for key in items[0]}
    frames = (rendered := render(batch, data.size, binary))["frames"]
    prediction = network(frames[:, :-1])[0][-1]
    flow = prediction.flow
    return Examples(
        seen=_bytes(frames[:, -1 - _SEEN : -1, 0]),
        truth=_bytes(frames[:, -1, 0]),
        true_motion=_motion(rendered["flow"][:, -1]),
        predicted=_bytes(prediction.frame[:, 0]),
        motion=np.zeros(0, np.float16) if flow is None else _motion(flow),
    )


def _bytes(images: Tensor) -> NDArray[np.uint8]:
    return images.float().clamp(0, 1).mul(255).round().byte().cpu().numpy()


def _motion(backward: Tensor) -> NDArray[np.float16]:
    """Backward flow points to where a pixel came from. Negated, it shows where the pixel moves."""
    return (-backward).permute(0, 2, 3, 1).half().cpu().numpy()
