"""Lightning callbacks: pictures for TensorBoard and export of the weights."""

from __future__ import annotations

import json
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

import stvae_ros
from stvae_ros import zoo
from stvae_ros.data.sequences import Item
from stvae_ros.training.module import NextFrameModule
from stvae_ros.visualization.flow_color import flow_to_color


class LogPictures(pl.Callback):
    """Show, at every validation, frame | next frame | frame moved by flow | decoded frame | flow.

    count: sequences of the first validation batch to show. max_magnitude: flow in full colour, in pixels.
    """

    def __init__(self, count: int = 4, max_magnitude: float = 4.0) -> None:
        self.count, self.max_magnitude = count, max_magnitude

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Item,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write one picture to TensorBoard from the first batch."""
        if batch_idx == 0 and isinstance(trainer.logger, TensorBoardLogger):
            picture = self._draw(outputs)
            trainer.logger.experiment.add_image("val/pictures", picture, trainer.global_step)

    def _draw(self, outputs: dict[str, Tensor]) -> Tensor:
        rows = []
        for index in range(min(self.count, len(outputs["current"]))):
            cells = [
                outputs[key][index].float().cpu().expand(3, -1, -1) for key in ("current", "next", "moved", "decoded")
            ]
            # Backward flow points to where a pixel came from; drawn negated, it shows where things move.
            motion = -outputs["flow"][index].float().cpu().permute(1, 2, 0).numpy()
            colors = flow_to_color(motion, self.max_magnitude)[..., ::-1]
            cells.append(torch.from_numpy(np.ascontiguousarray(colors)).permute(2, 0, 1) / 255)
            rows.append(torch.cat(cells, dim=2))
        return torch.cat(rows, dim=1).clamp(0, 1)


class ExportWeights(pl.Callback):
    """When training ends, write the weights as safetensors with recipe and validation figures.

    path: for example ``models/ae-convlstm-flow.safetensors``. recipe: the command or file that trains these weights.
    processing_size: [width, height] in pixels that the node should run them at.
    """

    def __init__(self, path: str, recipe: str, processing_size: list[int]) -> None:
        self.path, self.recipe, self.processing_size = path, recipe, processing_size

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file, from the first process only."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, NextFrameModule)
        figures = {key: round(float(v), 4) for key, v in trainer.callback_metrics.items() if key.startswith("val/")}
        metadata = {
            "recipe": self.recipe,
            "steps": str(trainer.global_step),
            "figures": json.dumps(figures, sort_keys=True),
            "processing_size": json.dumps(self.processing_size),
            "package_version": stvae_ros.__version__,
        }
        zoo.save(self.path, pl_module.network, pl_module.name, pl_module.options, metadata)
