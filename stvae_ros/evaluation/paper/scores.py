"""Scores of next-frame prediction on Moving MNIST: the protocol of the paper's tables, and end-point error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from stvae_ros.data.moving_mnist import MovingMnist, render
from stvae_ros.data.sequences import Item
from stvae_ros.nn.interface import FramePredictor, Prediction
from stvae_ros.nn.layers.warp import warp

BATCH_SIZE = 50
"""Number of sequences in a batch."""

_CERTAIN = 1e-6
"""Limit of probabilities of 0 and 1 when they become logits."""


@dataclass(frozen=True)
class Scores:
    """Scores of the last prediction of each sequence: means over sequences and pixels, or None if not applicable.

    Attributes:
        sequences: number of sequences.
        bce: binary cross-entropy in nats per pixel, on binary frames.
        mse: squared error of the frame.
        epe: end-point error in pixels, on moving pixels of digits that were visible before.
        epe_zero: the same for zero flow.
        flicker: change of the flow from frame to frame along the true path, in pixels, on moving pixels of digits
            whose motion does not change.
    """

    sequences: int
    bce: float | None
    mse: float | None
    epe: float | None
    epe_zero: float | None
    flicker: float | None


class CopyLast:
    """The reference: copying the last frame.

    On binary frames each pixel gets the probability that it stays white or black. The two probabilities are counted on
    ``training``: this is the lowest cross-entropy that copying can have. On grey frames it is the last frame itself.
    """

    def __init__(self, training: MovingMnist, binary: bool) -> None:
        self.binary = binary
        self.turns_white = torch.tensor([0.0, 1.0])
        if binary:
            white, total = torch.zeros(2), torch.zeros(2)
            for batch in _batches(training, "cpu", binary=True):
                current, following = batch["frames"][:, -2], batch["frames"][:, -1]
                for value in (0, 1):
                    white[value] += following[current == value].sum()
                    total[value] += (current == value).sum()
            self.turns_white = white / total

    def __call__(self, frames: Tensor) -> list[Prediction]:
        """frames (B, T, 1, H, W) -> the prediction after the last of them."""
        last = frames[:, -1]
        if not self.binary:
            return [Prediction(last, None)]
        if_black, if_white = self.turns_white.to(last)
        probability = if_black + (if_white - if_black) * last
        return [Prediction(probability, None, torch.logit(probability, _CERTAIN))]


class NetworkPredictions:
    """The last two predictions of a network, run from empty memory."""

    def __init__(self, network: FramePredictor) -> None:
        self.network = network

    def __call__(self, frames: Tensor) -> list[Prediction]:
        """frames (B, T, 1, H, W) -> the predictions after the last two of them."""
        return self.network(frames)[0][-2:]


@torch.inference_mode()
def score(
    predict: CopyLast | NetworkPredictions,
    data: MovingMnist,
    binary: bool = True,
    device: str | torch.device = "cpu",
) -> Iterator[Scores]:
    """Yield the scores over the first batches, after each batch, to show progress. The last one counts."""
    means = _Means(device)
    for batch in _batches(data, device, binary):
        means.add(predict(batch["frames"][:, :-1]), batch, binary)
        yield means.scores()


def _batches(data: MovingMnist, device: str | torch.device, binary: bool) -> Iterator[Item]:
    for items in DataLoader(data, BATCH_SIZE):
        yield render({key: value.to(device) for key, value in items.items()}, data.size, binary)


class _Means:
    def __init__(self, device: str | torch.device) -> None:
        self.device, self.sequences = device, 0
        self.metrics: dict[str, MeanMetric] = {}

    def add(self, predictions: list[Prediction], batch: Item, binary: bool) -> None:
        prediction, following = predictions[-1], batch["frames"][:, -1]
        self.sequences += len(following)
        self._update("mse", (prediction.frame - following) ** 2)
        if binary and prediction.logits is not None:
            self._update("bce", F.binary_cross_entropy_with_logits(prediction.logits, following, reduction="none"))
        truth, known = batch["flow"][:, -1], batch["flow_known"][:, -1]
        moving = known & (truth != 0).any(dim=1)
        self._update("epe_zero", _length(truth)[moving])
        if prediction.flow is None:
            return
        self._update("epe", _length(prediction.flow - truth)[moving])
        before = predictions[-2].flow
        assert before is not None
        # Along the true path: the flow a frame earlier of the pixel that is now here.
        steady = moving & (warp(batch["flow"][:, -2], truth) - truth).abs().amax(dim=1).lt(1e-3)
        self._update("flicker", _length(prediction.flow - warp(before, truth))[steady])

    def scores(self) -> Scores:
        means = {name: float(metric.compute()) for name, metric in self.metrics.items()}
        names = [field.name for field in fields(Scores) if field.name != "sequences"]
        return Scores(self.sequences, **{name: means.get(name) for name in names})

    def _update(self, name: str, values: Tensor) -> None:
        if name not in self.metrics:
            self.metrics[name] = MeanMetric().to(self.device)
        if values.numel():
            self.metrics[name].update(values)


def _length(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=1)
