"""Ten frames seen, ten predicted: the protocol of OpenSTL's Moving MNIST benchmark (arXiv 2306.11249).

A network predicts the frames one after the other and is fed its own predictions. Errors are those of OpenSTL: squared
and absolute error of a frame summed over its pixels, and SSIM with uniform windows of 7x7 pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stvae_ros.data.moving_mnist import MovingMnist, render
from stvae_ros.data.sequences import Item
from stvae_ros.files import replaced
from stvae_ros.nn.interface import FramePredictor

SEEN, PREDICTED = 10, 10
REFERENCES = {
    "PredRNN++, 200 epochs": 22.06,
    "TAU, 200 epochs": 24.60,
    "ConvLSTM-S, 200 epochs": 29.80,
    "PredRNN++, 2,000 epochs": 14.07,
}
"""Mean squared errors in OpenSTL's tables for Moving MNIST."""
SPEED = 3.6
"""Pixels per frame of each digit in the public test file: a tenth of the room of 36 pixels that it can move in."""

_BATCH = 25
_WINDOW = 7
_RANGE = 2.0
"""Data range of scikit-image for floats, with which OpenSTL's SSIM was computed."""


@dataclass(frozen=True)
class Rollout:
    """Errors of the predicted frames, means over sequences. Each list has one figure for each predicted frame.

    Attributes:
        sequences: number of sequences.
        source: in words.
        binary: whether the frames were made binary, as for networks trained on binary frames.
        mse, mae: sums over the pixels of a frame, whose values are in [0, 1].
        ssim: structural similarity.
    """

    sequences: int
    source: str
    binary: bool
    mse: list[float]
    mae: list[float]
    ssim: list[float]

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        with replaced(path) as file:
            file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Rollout:
        """Read what `save` wrote. Raises ValueError for another file."""
        try:
            return cls(**json.loads(path.read_text()))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: not the errors of a rollout ({error}); delete it and measure again") from error


def generated_sequences(digits: object, count: int, seed: int) -> MovingMnist:
    """Sequences by the rules of the public test file: two grey digits, 64x64 pixels, one speed, 20 frames."""
    return MovingMnist(digits, count, SEEN + PREDICTED - 1, min_speed=SPEED, max_speed=SPEED, seed=seed)  # type: ignore[arg-type]


@torch.inference_mode()
def rollout_errors(
    network: FramePredictor, data: Dataset[Item], binary: bool, source: str, device: str | torch.device = "cpu"
) -> Iterator[Rollout]:
    """Yield the errors over the first batches, after each batch, to show progress. The last one counts.

    Args:
        network: predicts frames of one channel.
        data: items of `MovingMnist`, or of `MovingMnistFile` with 20 frames.
        binary: make the frames binary.
        source: of the sequences, in words.
        device: of the network.
    """
    sums = torch.zeros(3, PREDICTED, dtype=torch.float64)
    count = 0
    for batch in DataLoader(data, _BATCH):
        items = {key: value.to(device) for key, value in batch.items()}
        frames = (render(items, 64, binary) if "sprites" in items else items)["frames"]
        predictions, state = network(frames[:, :SEEN])
        prediction = predictions[-1]
        for index in range(PREDICTED):
            predicted, truth = prediction.frame.float(), frames[:, SEEN + index]
            difference = (predicted - truth).flatten(1)
            errors = (difference.square().sum(1), difference.abs().sum(1), ssim(predicted.clamp(0, 1), truth))
            sums[:, index] += torch.stack([each.sum() for each in errors]).double().cpu()
            if index < PREDICTED - 1:
                prediction, state = network.step(predicted.clamp(0, 1), state)
        count += len(frames)
        mse, mae, similarity = (sums / count).tolist()
        yield Rollout(count, source, binary, mse, mae, similarity)


def ssim(prediction: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of images (B, 1, H, W), with sample covariances in uniform windows of 7x7 pixels; (B,)."""
    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    x, y = prediction.double(), truth.double()
    mean_x, mean_y, xx, yy, xy = (F.avg_pool2d(image, _WINDOW, 1) for image in (x, y, x * x, y * y, x * y))
    variances = unbiased * (xx - mean_x**2 + yy - mean_y**2)
    covariance = unbiased * (xy - mean_x * mean_y)
    one, two = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2
    numerator = (2 * mean_x * mean_y + one) * (2 * covariance + two)
    return (numerator / ((mean_x**2 + mean_y**2 + one) * (variances + two))).flatten(1).mean(1)
