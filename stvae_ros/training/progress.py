"""Progress of a training on the terminal, and its validation figures in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_WORDS = (
    ("val/psnr", "PSNR {:.2f} dB", "val/psnr_copy", "copying the last frame: {:.2f} dB"),
    ("val/epe", "end-point error {:.2f} px", "val/epe_zero", "without flow: {:.2f} px"),
    ("val/miou", "mean IoU {:.1%}", "val/accuracy", "right pixels: {:.1%}"),
)
_SPEED_SECONDS = 300.0
"""The time left follows from the speed of this time. It is longer than a validation."""


def in_words(figures: Mapping[str, Any]) -> str:
    """Validation figures for the reader, each with the figure to compare it with."""
    found = []
    for name, text, other, comparison in _WORDS:
        if name in figures:
            words = text.format(float(figures[name]))
            found.append(f"{words} ({comparison.format(float(figures[other]))})" if other in figures else words)
    return ", ".join(found)


class TrainingProgress(ProgressBar):
    """Shows steps and time left of the whole training, and prints a line after each validation."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._progress: Progress | None = None

    def disable(self) -> None:
        """Show nothing. Lightning calls it in all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        if self._progress is not None:
            self._progress.console.print(*args, highlight=False, soft_wrap=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the bar."""
        if not self._enabled:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        steps = trainer.estimated_stepping_batches
        self._progress = Progress(*columns, console=Console(stderr=True), speed_estimate_period=_SPEED_SECONDS)
        self._progress.add_task(
            "training", total=steps if math.isfinite(steps) else None, completed=trainer.global_step, loss="loss -"
        )
        begin = f"continues after step {trainer.global_step}" if trainer.global_step else "starts"
        self.print(f"the training of {getattr(pl_module, 'name', 'the network')} {begin}, on {pl_module.device}")
        self._progress.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self._progress is not None:
            loss = trainer.callback_metrics.get("train/loss", trainer.callback_metrics.get("train/cross_entropy"))
            self._progress.update(
                self._progress.task_ids[0],
                completed=trainer.global_step,
                loss="loss -" if loss is None else f"loss {float(loss):.3f}",
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the figures."""
        if not trainer.sanity_checking:
            self.print(f"step {trainer.global_step}, validation: {in_words(trainer.callback_metrics)}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the bar."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stop the bar."""
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
