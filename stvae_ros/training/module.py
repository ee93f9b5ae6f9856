"""Lightning module for next-frame prediction."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, MeanSquaredError, Metric
from torchmetrics.image import PeakSignalNoiseRatio

from stvae_ros import zoo
from stvae_ros.checkpoint import Checkpoint, find
from stvae_ros.data.sequences import Item
from stvae_ros.nn.interface import FramePredictor, Prediction
from stvae_ros.nn.layers.warp import warp
from stvae_ros.training.losses import LossWeights, sequence_losses

_STRIDE = 7919
"""A prime, so that (step * stride) mod (burn_in + 1) visits all lengths in mixed order."""


class NextFrameModule(pl.LightningModule):
    """Trains any frame predictor to predict the next frame (arXiv 1511.06309, section 3.4).

    Validation measures the last prediction of each sequence:

    - `val/mse`: squared error of the predicted frame.
    - `val/psnr`, `val/psnr_copy`, `val/psnr_decoded`: PSNR in dB of the input warped by the flow, of the input itself,
      and of the predicted frame.
    - `val/bce`: cross-entropy of the predicted frame in nats per pixel, if the network ends in a sigmoid.
    - `val/epe`, `val/epe_zero`: mean end-point error in pixels of the flow and of zero flow, where the true flow is
      known. `val/epe_moving`: the same of the flow, where the true flow is known and not zero.

    Args:
        network: name of a network; `stvae models` lists them.
        options: options of the network.
        loss: weights of the loss terms.
        burn_in: largest number of leading frames without gradient, which only fill the memory. Gradients flow through
            the next ``length - burn_in`` frames.
        weights: checkpoint to start from, a .safetensors file or the name of shipped weights. It may hold a part of the
            network; the rest starts at random. None starts everything at random.
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
        self.metrics = nn.ModuleDict(
            {
                "mse": MeanSquaredError(),
                **{name: PeakSignalNoiseRatio(data_range=1.0) for name in ("psnr", "psnr_copy", "psnr_decoded")},
                **{name: MeanMetric() for name in ("bce", "epe", "epe_zero", "epe_moving")},
            }
        )

    def training_step(self, batch: Item, batch_index: int) -> Tensor:
        """Return the weighted sum of the loss terms of a batch."""
        # All burn-in lengths from 0 on take turns, so the network also learns the first frames of a stream.
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
        total = torch.stack([getattr(loss, name) * value for name, value in terms.items()]).sum()
        self.log("train/loss", total, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in terms.items()})
        return total

    def validation_step(self, batch: Item, batch_index: int) -> dict[str, Tensor]:
        """Measure the last prediction of each sequence; return the images and the flow that `LogPictures` shows."""
        frames = batch["frames"]
        current, following = frames[:, -2].contiguous(), frames[:, -1].contiguous()
        prediction = self.network(frames[:, :-1])[0][-1]
        predicted = prediction.frame.contiguous()  # MeanSquaredError needs it.
        decoded = predicted.clamp(0, 1)
        warped = _warped(current, prediction)
        self._measure("mse", predicted, following)
        self._measure("psnr", warped, following)
        self._measure("psnr_copy", current, following)
        self._measure("psnr_decoded", decoded, following)
        if prediction.logits is not None:
            self._measure("bce", F.binary_cross_entropy_with_logits(prediction.logits, following, reduction="none"))
        truth, known = batch["flow"][:, -1], batch["flow_known"][:, -1]
        flow = torch.zeros_like(truth) if prediction.flow is None else prediction.flow
        error = torch.linalg.vector_norm(flow - truth, dim=1)
        if known.any():
            self._measure("epe", error[known])
            self._measure("epe_zero", torch.linalg.vector_norm(truth, dim=1)[known])
        moving = known & (truth != 0).any(dim=1)
        if moving.any():
            self._measure("epe_moving", error[moving])
        return {"current": current, "next": following, "warped": warped, "decoded": decoded, "flow": flow}

    def _measure(self, name: str, *values: Tensor) -> None:
        metric = self.metrics[name]
        assert isinstance(metric, Metric)
        metric.update(*values)
        self.log(f"val/{name}", metric, on_epoch=True, prog_bar=name in ("psnr", "psnr_copy", "epe"))


def validation_psnr(
    network: FramePredictor, batches: Iterable[Item], device: torch.device, context: AbstractContextManager[Any]
) -> float:
    """Measure `val/psnr` of any network.

    Args:
        network: it is moved to the device and put into evaluation mode.
        batches: of the validation data.
        device: to run on.
        context: of the precision.

    Returns:
        PSNR in dB of the input warped by the flow.
    """
    network.to(device).eval()
    metric = PeakSignalNoiseRatio(data_range=1.0).to(device)
    with torch.inference_mode(), context:
        for batch in batches:
            frames = batch["frames"].to(device)
            current = frames[:, -2].contiguous()
            metric.update(_warped(current, network(frames[:, :-1])[0][-1]), frames[:, -1].contiguous())
    return float(metric.compute())


def _warped(current: Tensor, prediction: Prediction) -> Tensor:
    return current if prediction.flow is None else warp(current, prediction.flow)
