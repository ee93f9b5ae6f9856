"""`stvae train`: train a network with Lightning from a YAML recipe."""

from __future__ import annotations

import ctypes
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, LRSchedulerTypeUnion
from lightning.pytorch.loggers import TensorBoardLogger
from torch.optim import Optimizer

from stvae_ros.resources import share_directory
from stvae_ros.training.schedules import WarmupCosine

# Parameters of mallopt in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


class _TrainingCLI(LightningCLI):
    """Lightning's command line with defaults for model and data, and schedules that count optimizer steps."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Set the defaults: prediction of the next frame, on clips and synthetic scenes."""
        parser.set_defaults(
            {
                "model": {"class_path": "stvae_ros.training.module.NextFrameModule"},
                "data": {"class_path": "stvae_ros.training.data.SequenceData"},
            }
        )

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Log to TensorBoard, unless the recipe sets a logger, in a fixed folder, so that a resumed run finds it."""
        if self._get(self.config_init, "trainer.logger") is None:
            root = self._get(self.config_init, "trainer.default_root_dir") or "."
            kwargs["logger"] = TensorBoardLogger(root, name="", version="tensorboard")
        return super().instantiate_trainer(**kwargs)

    @staticmethod
    def configure_optimizers(
        lightning_module: pl.LightningModule, optimizer: Optimizer, lr_scheduler: LRSchedulerTypeUnion | None = None
    ) -> Any:
        """Step a `WarmupCosine` schedule after each optimizer step."""
        if isinstance(lr_scheduler, WarmupCosine):
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": lr_scheduler, "interval": "step"}}
        return LightningCLI.configure_optimizers(lightning_module, optimizer, lr_scheduler)


def train(arguments: Sequence[str], callbacks: Sequence[pl.Callback] = ()) -> pl.Trainer:
    """Train. A run that was interrupted continues from its last checkpoint.

    Args:
        arguments: options of Lightning: ``--config FILE``, ``--trainer.*``, ``--model.*``, ``--data.*``, ``--help``.
            FILE may also be the name of a shipped recipe, such as bags.
        callbacks: besides those of the options.

    Returns:
        The trainer, after training.

    Raises:
        ValueError: there is no such recipe.
    """
    arguments = _find_recipes(arguments)
    # Lightning warns if both `args` and a command line exist. Here `args` is made from the command line.
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")
    # Our sampler resumes from the number of steps and needs no state of its own.
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable")
    # The recipes continue from the last checkpoint, and the first run has none. Their epochs may be short.
    warnings.filterwarnings("ignore", ".*there is no last checkpoint available")
    warnings.filterwarnings("ignore", ".*smaller than the logging interval")
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec")
    # Advertisements, and what `TrainingProgress` says.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    _keep_freed_memory()
    if "OMP_NUM_THREADS" not in os.environ:
        # One core is for the process that makes the sequences. If it shares a core with a training thread, all other
        # threads wait for that thread, and a step takes 1.5 times as long.
        torch.set_num_threads(max(len(os.sched_getaffinity(0)) - 1, 1))
    cli = _TrainingCLI(
        pl.LightningModule,
        pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        args=["fit", *arguments],
        save_config_kwargs={"overwrite": True},
        # In distributed training each process takes its samples from our sampler.
        trainer_defaults={
            "callbacks": list(callbacks),
            "use_distributed_sampler": False,
            "enable_model_summary": False,  # It counts no FLOPs of these networks; `stvae models` does.
        },
        parser_kwargs={"fit": {"prog": "stvae train"}},
        seed_everything_default=0,
    )
    return cli.trainer


def _find_recipes(arguments: Sequence[str]) -> list[str]:
    """Replace names of shipped recipes after ``--config`` by their paths."""
    folder = share_directory() / "config" / "train"
    found: list[str] = []
    for argument in arguments:
        option, equals, value = (
            argument.rpartition("=") if argument.startswith(("--config=", "-c=")) else ("", "", argument)
        )
        if (option or found[-1:] in (["--config"], ["-c"])) and not Path(value).is_file():
            shipped = folder / f"{Path(value).stem}.yaml"
            if not shipped.is_file():
                known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
                raise ValueError(f"there is no recipe {value}: give a file, or one of {known}")
            value = str(shipped)
        found.append(f"{option}{equals}{value}")
    return found


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory. Getting it from the system again would take half of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, -1)
        mallopt(_TOP_PAD, 2**28)
        mallopt(_MMAP_THRESHOLD, 2**30)
