"""Lightning callbacks: pictures for TensorBoard, the learning curve, export of the weights."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

import stvae_ros
from stvae_ros.checkpoint import save
from stvae_ros.data.sequences import Item
from stvae_ros.training.module import NextFrameModule
from stvae_ros.training.segmentation import SegmentationModule
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
            cells = [_rgb(outputs[key][index].float().cpu()) for key in ("current", "next", "moved", "decoded")]
            # Backward flow points to where a pixel came from; drawn negated, it shows where things move.
            motion = -outputs["flow"][index].float().cpu().permute(1, 2, 0).numpy()
            colors = flow_to_color(motion, self.max_magnitude)[..., ::-1]
            cells.append(torch.from_numpy(np.ascontiguousarray(colors)).permute(2, 0, 1) / 255)
            rows.append(torch.cat(cells, dim=2))
        return torch.cat(rows, dim=1).clamp(0, 1)


def _rgb(image: Tensor) -> Tensor:
    """(C, H, W) as (3, H, W); of two channels, counts of events, ON is red and OFF is blue."""
    return torch.stack([image[0], 0 * image[0], image[1]]) if len(image) == 2 else image.expand(3, -1, -1)


class ExportWeights(pl.Callback):
    """When training ends, write the weights as safetensors with recipe and validation figures.

    recipe: the command or file that trains these weights. processing_size: [width, height] in pixels that the node
    should run them at; by default what the data module says of its input, ``input_metadata``. path: for example
    ``models/ae-convlstm-flow.safetensors``; by default ``weights.safetensors`` in the trainer's `default_root_dir`.
    """

    def __init__(self, recipe: str, processing_size: list[int] | None = None, path: str | None = None) -> None:
        self.path, self.recipe, self.processing_size = path, recipe, processing_size

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file, from the first process only."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, (NextFrameModule, SegmentationModule))
        figures = {key: round(float(v), 4) for key, v in trainer.callback_metrics.items() if key.startswith("val/")}
        metadata = {
            "recipe": self.recipe,
            "steps": str(trainer.global_step),
            "figures": json.dumps(figures, sort_keys=True),
            "package_version": stvae_ros.__version__,
            **getattr(trainer.datamodule, "input_metadata", {}),  # type: ignore[attr-defined]
            **({} if self.processing_size is None else {"processing_size": json.dumps(self.processing_size)}),
        }
        path = self.path or Path(trainer.default_root_dir) / "weights.safetensors"
        save(path, pl_module.network, pl_module.name, pl_module.options, metadata)


class RecordCurve(pl.Callback):
    """Write what each validation measured, beside the training time, to ``curve.csv`` in `default_root_dir`.

    Columns: seconds (of training, without validation, over all resumed parts), sequences, and each ``val/`` metric.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._seconds = 0.0
        self._since: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint, so that a resumed run goes on with its curve."""
        return {"rows": self.rows, "seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.rows, self._seconds = state_dict["rows"], state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._seconds, self._since = self._elapsed(), None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a row, write the file, start the clock again."""
        if trainer.sanity_checking:
            return
        metrics = {key.removeprefix("val/"): float(v) for key, v in trainer.callback_metrics.items() if "val/" in key}
        sequences = trainer.global_step * trainer.world_size * trainer.datamodule.batch_size  # type: ignore[attr-defined]
        self.rows.append({"seconds": self._seconds, "sequences": sequences, **metrics})
        if trainer.is_global_zero:
            folder = Path(trainer.default_root_dir)
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / "curve.csv", "w", newline="") as file:
                writer = csv.DictWriter(file, list(self.rows[-1]), extrasaction="ignore")
                writer.writeheader()
                writer.writerows(self.rows)
        self._since = time.perf_counter()

    def _elapsed(self) -> float:
        return self._seconds + (0.0 if self._since is None else time.perf_counter() - self._since)


class Deadline(pl.Callback):
    """Stop in time, with a checkpoint to go on from.

    moment: `time.monotonic()` after which the step in progress is the last one.
    """

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Item, batch_idx: int
    ) -> None:
        """Ask the trainer to stop once the time is over."""
        if time.monotonic() >= self.moment:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the checkpoint that the next part resumes from."""
        if time.monotonic() < self.moment:
            return
        checkpoint = trainer.checkpoint_callback
        assert isinstance(checkpoint, ModelCheckpoint) and checkpoint.dirpath is not None
        trainer.save_checkpoint(Path(checkpoint.dirpath) / f"{checkpoint.CHECKPOINT_NAME_LAST}.ckpt")
