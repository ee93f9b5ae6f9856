"""Lightning module for semantic segmentation."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from stvae_ros.checkpoint import Checkpoint, CheckpointError, find
from stvae_ros.data.labelled import UNKNOWN
from stvae_ros.data.sequences import Item
from stvae_ros.nn.registry import create_segmenter, segmenter_names
from stvae_ros.nn.segmentation.interface import Segmentation, to_labels
from stvae_ros.nn.segmentation.segnet_flow import SegNetFlow

CAMVID_WEIGHTS = [0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614]
"""SegNet's median-frequency weights of the 11 classes of CamVid (arXiv 1511.00561)."""


class SegmentationModule(pl.LightningModule):
    """Trains any segmenter; SegNet-flow is trained together with its frame predictor (arXiv 1511.06309, section 4.3).

    The loss is the cross-entropy of the labelled frames. SegNet-flow adds the squared error of the predicted frames.
    Validation measures the last frame of each sequence: `val/miou` and `val/accuracy`, over the pixels with a label.

    Args:
        segmenter: name of a segmenter; `stvae models` lists them.
        options: options of the segmenter.
        class_weights: weight of each class in the cross-entropy.
        reconstruction: weight of the squared error of the predicted frames.
        weights: checkpoints to start from, .safetensors files or names of shipped weights: of the segmenter, or of the
            SegNet and the frame predictor in SegNet-flow.
    """

    def __init__(
        self,
        segmenter: str = "segnet",
        options: dict[str, Any] | None = None,
        class_weights: list[float] = CAMVID_WEIGHTS,
        reconstruction: float = 1.0,
        weights: list[str] = [],  # noqa: B006
    ) -> None:
        super().__init__()
        self.name, self.options, self.reconstruction = segmenter, options or {}, reconstruction
        self.network = create_segmenter(segmenter, **self.options)
        classes = self.network.classes
        if len(class_weights) != classes:
            raise ValueError(f"class_weights has {len(class_weights)} values, but there are {classes} classes")
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name in weights:
            self._start_from(name)
        self.register_buffer("class_weights", torch.tensor(class_weights), persistent=False)
        self.miou = MulticlassJaccardIndex(classes, ignore_index=UNKNOWN)
        self.accuracy = MulticlassAccuracy(classes, average="micro", ignore_index=UNKNOWN)

    def _start_from(self, name: str) -> None:
        checkpoint = Checkpoint.open(find(name))
        architecture = checkpoint.architecture
        if architecture == self.name:
            checkpoint.fill(self.network)
        elif isinstance(self.network, SegNetFlow):
            checkpoint.fill(self.network.segnet if architecture in segmenter_names() else self.network.flow)
        else:
            raise CheckpointError(f"{checkpoint.path}: weights of {architecture!r} are no part of {self.name!r}")

    def training_step(self, batch: Item, batch_index: int) -> Tensor:
        """Return the loss of a batch of sequences."""
        segmentations, labels = self._segment(batch)
        scores = torch.stack([s.scores for s in segmentations], dim=1).flatten(0, 1)
        total = F.cross_entropy(scores, labels.flatten(0, 1), self.get_buffer("class_weights"), ignore_index=UNKNOWN)
        self.log("train/cross_entropy", total, prog_bar=True)
        if isinstance(self.network, SegNetFlow):
            predicted = torch.stack([s.prediction.frame for s in segmentations[:-1] if s.prediction], dim=1)
            error = F.mse_loss(predicted, self.network.prediction_targets(batch["frames"][:, 1:]))
            self.log("train/frame", error)
            total = total + self.reconstruction * error
        self.log("train/loss", total)
        return total

    def validation_step(self, batch: Item, batch_index: int) -> None:
        """Measure the labels of the last frame of each sequence."""
        segmentations, labels = self._segment(batch)
        for name, metric in (("val/miou", self.miou), ("val/accuracy", self.accuracy)):
            metric.update(to_labels(segmentations[-1].scores), labels[:, -1])
            self.log(name, metric, on_epoch=True, prog_bar=True)

    def _segment(self, batch: Item) -> tuple[list[Segmentation], Tensor]:
        frames, labels = batch["frames"], batch["labels"]
        if not self.network.recurrent:  # Only the last frame has labels.
            frames, labels = frames[:, -1:], labels[:, -1:]
        return self.network(frames), labels
