"""Lightning module that trains any segmenter, alone or together with the flow that it uses."""

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
"""Median-frequency weights of CamVid's 11 classes, as SegNet has them (arXiv 1511.00561)."""


class SegmentationModule(pl.LightningModule):
    """Semantic segmentation (arXiv 1511.06309, section 4.3).

    segmenter: a name that `stvae models` lists. options: its options. class_weights: of the cross-entropy, one a class.
    reconstruction: weight of the squared error of the predicted next frame, for a segmenter that predicts it; the
    cross-entropy counts only where a frame has labels. weights: .safetensors files, or names of shipped weights, of the
    parts to start from: of a segmenter, or of the network that tells SegNet-flow its flow.
    Validation reports, on the last frame of each sequence, `val/miou` and `val/accuracy`, of pixels that have a label.
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
        """One batch of sequences forward; returns the weighted sum of the loss terms."""
        found, labels = self._run(batch)
        scores = torch.stack([segmentation.scores for segmentation in found], dim=1).flatten(0, 1)
        entropy = F.cross_entropy(scores, labels.flatten(0, 1), self.get_buffer("class_weights"), ignore_index=UNKNOWN)
        self.log("train/cross_entropy", entropy, prog_bar=True)
        total = entropy
        if isinstance(self.network, SegNetFlow):
            following = self.network.seen(batch["frames"][:, 1:])
            drawn = torch.stack([s.prediction.frame for s in found[:-1] if s.prediction is not None], dim=1)
            error = F.mse_loss(drawn, following)
            self.log("train/frame", error)
            total = total + self.reconstruction * error
        self.log("train/loss", total)
        return total

    def validation_step(self, batch: Item, batch_index: int) -> None:
        """Measure the labels of the last frame of each sequence."""
        found, labels = self._run(batch)
        for name, metric in (("val/miou", self.miou), ("val/accuracy", self.accuracy)):
            metric.update(to_labels(found[-1].scores), labels[:, -1])
            self.log(name, metric, on_epoch=True, prog_bar=True)

    def _run(self, batch: Item) -> tuple[list[Segmentation], Tensor]:
        frames, labels = batch["frames"], batch["labels"]
        if not self.network.recurrent:  # Then frames without labels teach nothing.
            frames, labels = frames[:, -1:], labels[:, -1:]
        return self.network(frames), labels
