"""Lightning module that trains any network with the step interface to predict the next frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric, MeanSquaredError, Metric
from torchmetrics.image import PeakSignalNoiseRatio

from stvae_ros import zoo
from stvae_ros.checkpoint import Checkpoint, find
from stvae_ros.data.sequences import Item
from stvae_ros.nn.layers.warp import warp
from stvae_ros.training.losses import LossWeights, sequence_losses

_STRIDE = 7919
"""A prime, so that the remainders of its multiples go through all run-up lengths in mixed order."""


class NextFrameModule(pl.LightningModule):
    """Next-frame prediction (arXiv 1511.06309, section 3.4).

    network: a name that `stvae models` lists. options: its options. loss: weights of the loss terms.
    burn_in: up to this many leading frames of a sequence only fill the memory, without gradient, and the
    rest of it, `length - burn_in` frames, is learnt from: a long memory at the price of short sequences.
    weights: a .safetensors file, or the name of shipped weights, to start from: of the same network, or of one that is
    a part of it, the rest of which is random then; None starts from random weights alone.
    Validation reports, on the last step of each sequence: `val/psnr` of the input moved by the flow,
    `val/psnr_copy` of copying it, `val/psnr_decoded` of the network's own frame, in dB; `val/mse`, the squared error
    of that frame, and `val/bce`, its cross-entropy in nats per pixel, if the network ends in a sigmoid; `val/epe`, the
    mean end-point error in pixels where the true flow is known, with `val/epe_zero` of no flow at all, and
    `val/epe_moving` where it is known and not zero.
    """

    def __init__(
        self,
        network: str = "ae-convlstm-flow",
        options: dict[str, Any] | None = None,
        loss: LossWeights = LossWeights(),  # noqa: B008
        burn_in: int = 0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.name, self.options, self.loss = network, options or {}, loss
        self.burn_in = burn_in
        self.network = zoo.create(network, **self.options)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if weights is not None:
            Checkpoint.open(find(weights)).fill(self.network, part=True)
        self.psnr, self.psnr_copy, self.psnr_decoded = (PeakSignalNoiseRatio(data_range=1.0) for _ in range(3))
        self.epe, self.epe_zero, self.epe_moving, self.bce = (MeanMetric() for _ in range(4))
        self.mse = MeanSquaredError()

    def training_step(self, batch: Item, batch_index: int) -> Tensor:
        """One sequence batch forward; returns the weighted sum of the loss terms."""
        # Every length of the run-up in turn, so that the first frames of a stream are learnt as well as late ones.
        start = self.global_step * _STRIDE % (self.burn_in + 1)
        end = start + batch["flow"].shape[1] - self.burn_in
        frames, flow, flow_known = batch["frames"], batch["flow"][:, start:end], batch["flow_known"][:, start:end]
        state, loss = None, self.loss
        if start:
            loss = replace(loss, skip=0)
            with torch.no_grad():
                _, state = self.network(frames[:, :start])
        predictions, _ = self.network(frames[:, start:end], state)
        terms = sequence_losses(predictions, frames[:, start : end + 1], flow, flow_known, loss)
        total = torch.stack([getattr(self.loss, name) * value for name, value in terms.items()]).sum()
        self.log("train/loss", total, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in terms.items()})
        return total

    def validation_step(self, batch: Item, batch_index: int) -> dict[str, Tensor]:
        """Measure the last prediction of each sequence; returns what `LogPictures` draws."""
        frames = batch["frames"]
        prediction = self.network(frames[:, :-1])[0][-1]
        current, following = frames[:, -2].contiguous(), frames[:, -1].contiguous()
        moved = current if prediction.flow is None else warp(current, prediction.flow)
        drawn = prediction.frame.contiguous()  # as MeanSquaredError wants it
        decoded = drawn.clamp(0, 1)
        self.psnr.update(moved, following)
        self.psnr_copy.update(current, following)
        self.psnr_decoded.update(decoded, following)
        self.mse.update(drawn, following)
        metrics: dict[str, Metric] = {
            "val/mse": self.mse,
            "val/psnr": self.psnr,
            "val/psnr_copy": self.psnr_copy,
            "val/psnr_decoded": self.psnr_decoded,
        }
        if prediction.logits is not None:
            self.bce.update(F.binary_cross_entropy_with_logits(prediction.logits, following, reduction="none"))
            metrics["val/bce"] = self.bce
        known, flow = batch["flow_known"][:, -1], batch["flow"][:, -1]
        estimate = torch.zeros_like(flow) if prediction.flow is None else prediction.flow
        if known.any():
            self.epe.update(torch.linalg.vector_norm(estimate - flow, dim=1)[known])
            self.epe_zero.update(torch.linalg.vector_norm(flow, dim=1)[known])
            metrics |= {"val/epe": self.epe, "val/epe_zero": self.epe_zero}
        moving = known & (flow != 0).any(dim=1)
        if moving.any():
            self.epe_moving.update(torch.linalg.vector_norm(estimate - flow, dim=1)[moving])
            metrics["val/epe_moving"] = self.epe_moving
        for name, metric in metrics.items():
            self.log(name, metric, on_epoch=True, prog_bar=name in ("val/psnr", "val/psnr_copy", "val/epe"))
        return {"current": current, "next": following, "moved": moved, "decoded": decoded, "flow": estimate}
