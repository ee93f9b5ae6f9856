"""Lightning callbacks: pictures for TensorBoard, learning curve, export of the weights, deadline."""

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
from stvae_ros.checkpoint import Checkpoint, find, save, shipped_names
from stvae_ros.data.sequences import Item
from stvae_ros.files import replaced
from stvae_ros.training.module import NextFrameModule, validation_psnr
from stvae_ros.training.progress import in_words
from stvae_ros.training.segmentation import SegmentationModule
from stvae_ros.visualization.flow_color import flow_to_color


class LogPictures(pl.Callback):
    """Shows the first validation batch in TensorBoard: current, next, warped and decoded frame, and flow.

    Args:
        count: number of sequences.
        max_magnitude: motion in pixels that is drawn in full colour.
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
        """Add the picture of the first batch."""
        if batch_idx == 0 and isinstance(trainer.logger, TensorBoardLogger):
            picture = self._draw(outputs)
            trainer.logger.experiment.add_image("val/pictures", picture, trainer.global_step)

    def _draw(self, outputs: dict[str, Tensor]) -> Tensor:
        rows = []
        for index in range(min(self.count, len(outputs["current"]))):
            cells = [_rgb(outputs[key][index].float().cpu()) for key in ("current", "next", "warped", "decoded")]
            # Backward flow points to the origin of a pixel. Negated, it shows the direction of motion.
            motion = -outputs["flow"][index].float().cpu().permute(1, 2, 0).numpy()
            colors = flow_to_color(motion, self.max_magnitude)[..., ::-1]
            cells.append(torch.from_numpy(np.ascontiguousarray(colors)).permute(2, 0, 1) / 255)
            rows.append(torch.cat(cells, dim=2))
        return torch.cat(rows, dim=1).clamp(0, 1)


def _rgb(image: Tensor) -> Tensor:
    """Convert (C, H, W) to (3, H, W). Two channels are event counts: ON becomes red, OFF becomes blue."""
    return torch.stack([image[0], 0 * image[0], image[1]]) if len(image) == 2 else image.expand(3, -1, -1)


class ExportWeights(pl.Callback):
    """Writes the weights as safetensors, with recipe and validation figures in the metadata.

    It writes them after each validation, when the user stops the training, and at the end. At the end it prints how
    they compare with the shipped weights of the same network.

    Args:
        recipe: command or file that trains these weights.
        processing_size: [width, height] in pixels at which the node shall run them. By default the data module tells
            it in its ``input_metadata``.
        path: file to write; ``weights.safetensors`` in the trainer's ``default_root_dir`` by default.
    """

    def __init__(self, recipe: str, processing_size: list[int] | None = None, path: str | None = None) -> None:
        self.path, self.recipe, self.processing_size = path, recipe, processing_size

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file."""
        if not trainer.sanity_checking:
            self._write(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the file if the user has stopped the training."""
        if isinstance(exception, KeyboardInterrupt) and trainer.global_step and trainer.is_global_zero:
            path = self._write(trainer, pl_module)
            print(f"stopped after step {trainer.global_step}; the weights so far are written to {path}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file, and print where it is and how good."""
        path = self._write(trainer, pl_module)
        if trainer.is_global_zero:
            assert isinstance(pl_module, (NextFrameModule, SegmentationModule))
            compared = self._compare(trainer, pl_module) or in_words(trainer.callback_metrics)
            print(
                f"{trainer.global_step} steps, written to {path}"
                + (f"; validation part: {compared}" if compared else "")
            )

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> str | Path:
        path = self.path or Path(trainer.default_root_dir) / "weights.safetensors"
        if not trainer.is_global_zero:
            return path
        assert isinstance(pl_module, (NextFrameModule, SegmentationModule))
        figures = {key: round(float(v), 4) for key, v in trainer.callback_metrics.items() if key.startswith("val/")}
        metadata = {
            "recipe": self.recipe,
            "steps": str(trainer.global_step),
            "figures": json.dumps(figures, sort_keys=True),
            "package_version": stvae_ros.__version__,
            **getattr(trainer.datamodule, "input_metadata", {}),  # type: ignore[attr-defined]
        }
        if self.processing_size is not None:
            metadata["processing_size"] = json.dumps(self.processing_size)
        save(path, pl_module.network, pl_module.name, pl_module.options, metadata)
        return path

    def _compare(self, trainer: pl.Trainer, module: NextFrameModule | SegmentationModule) -> str | None:
        """Compare with the shipped weights on the validation data; None if no shipped weights are of this network."""
        names = [name for name in (Path(self.recipe).stem, module.name) if name in shipped_names()]
        if not names or "paper" in Path(self.recipe).parts or trainer.val_dataloaders is None or trainer.world_size > 1:
            return None
        checkpoint = Checkpoint.open(find(names[0]))
        if isinstance(module, SegmentationModule) or checkpoint.architecture != module.name:
            return None
        shipped = checkpoint.network()
        tensors = ({key: value.shape for key, value in net.state_dict().items()} for net in (shipped, module.network))
        if len({tuple(shapes.items()) for shapes in tensors}) > 1:
            return None
        psnr, before = (
            validation_psnr(network, trainer.val_dataloaders, module.device, trainer.precision_plugin.forward_context())
            for network in (module.network, shipped)
        )
        return f"PSNR {psnr:.2f} dB, {psnr - before:+.2f} dB over the shipped {names[0]}"


class RecordCurve(pl.Callback):
    """Writes the learning curve to ``curve.csv`` in the trainer's ``default_root_dir``, one row per validation.

    Columns: seconds of training (without validation, over all resumed parts), sequences trained on, and the validation
    metrics.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._seconds = 0.0
        self._started: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """State in the training checkpoint, so a resumed run continues its curve."""
        return {"rows": self.rows, "seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a training checkpoint."""
        self.rows, self._seconds = state_dict["rows"], state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._seconds, self._started = self._elapsed(), None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a row, write the file, and start the clock again."""
        if trainer.sanity_checking:
            return
        metrics = {key.removeprefix("val/"): float(v) for key, v in trainer.callback_metrics.items() if "val/" in key}
        sequences = trainer.global_step * trainer.world_size * trainer.datamodule.batch_size  # type: ignore[attr-defined]
        self.rows.append({"seconds": self._seconds, "sequences": sequences, **metrics})
        if trainer.is_global_zero:
            with replaced(Path(trainer.default_root_dir) / "curve.csv") as path, path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(self.rows[-1]), extrasaction="ignore")
                writer.writeheader()
                writer.writerows(self.rows)
        self._started = time.perf_counter()

    def _elapsed(self) -> float:
        return self._seconds + (0.0 if self._started is None else time.perf_counter() - self._started)


class Deadline(pl.Callback):
    """Stops training at a given time, with a training checkpoint from which the next run resumes.

    Args:
        moment: value of `time.monotonic()` after which no new step starts.
    """

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Item, batch_idx: int
    ) -> None:
        """Ask the trainer to stop after the deadline."""
        if time.monotonic() >= self.moment:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the training checkpoint if the deadline has passed."""
        if time.monotonic() < self.moment:
            return
        checkpoint = trainer.checkpoint_callback
        assert isinstance(checkpoint, ModelCheckpoint) and checkpoint.dirpath is not None
        trainer.save_checkpoint(Path(checkpoint.dirpath) / f"{checkpoint.CHECKPOINT_NAME_LAST}.ckpt")
