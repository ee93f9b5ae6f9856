"""`stvae train`: train a network with Lightning from a YAML recipe."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, LRSchedulerTypeUnion
from lightning.pytorch.loggers import TensorBoardLogger
from torch.optim import Optimizer

from stvae_ros.training.schedules import WarmupCosine

# Of mallopt, in malloc.h of glibc.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


class _TrainingCLI(LightningCLI):
    """Has defaults for model and data, and steps a schedule that counts optimizer steps at each of them."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Without others, prediction of the next frame, on clips and synthetic scenes."""
        parser.set_defaults(
            {
                "model": {"class_path": "stvae_ros.training.module.NextFrameModule"},
                "data": {"class_path": "stvae_ros.training.data.SequenceData"},
            }
        )

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """TensorBoard, unless the recipe says otherwise, in one place, so that a resumed run finds its checkpoint."""
        if self._get(self.config_init, "trainer.logger") is None:
            root = self._get(self.config_init, "trainer.default_root_dir") or "."
            kwargs["logger"] = TensorBoardLogger(root, name="", version="tensorboard")
        return super().instantiate_trainer(**kwargs)

    @staticmethod
    def configure_optimizers(
        lightning_module: pl.LightningModule, optimizer: Optimizer, lr_scheduler: LRSchedulerTypeUnion | None = None
    ) -> Any:
        """The optimizer and how its schedule is stepped."""
        if isinstance(lr_scheduler, WarmupCosine):
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": lr_scheduler, "interval": "step"}}
        return LightningCLI.configure_optimizers(lightning_module, optimizer, lr_scheduler)


def train(arguments: Sequence[str], callbacks: Sequence[pl.Callback] = ()) -> pl.Trainer:
    """Train as ``arguments`` say; a run that was interrupted goes on from its last checkpoint.

    The options are Lightning's: ``--config FILE``, ``--trainer.*``, ``--model.*``, ``--data.*``, ``--help``.
    callbacks: besides those of the options. Returns the trainer, after training.
    """
    # It suspects a mistake when both `args` and a command line are there; here one is made from the other.
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")
    # Ours goes on where it stopped, by the number of steps instead of a state of its own.
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable")
    _keep_freed_memory()
    if "OMP_NUM_THREADS" not in os.environ:
        # One core for the process that makes the sequences: if it must take turns with a thread of the training, all
        # the others wait for that thread, and a step takes half as long again.
        torch.set_num_threads(max(len(os.sched_getaffinity(0)) - 1, 1))
    cli = _TrainingCLI(
        pl.LightningModule,
        pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        args=["fit", *arguments],
        save_config_kwargs={"overwrite": True},
        # Each process of several must take its samples from ours, which knows how many there are.
        trainer_defaults={"callbacks": list(callbacks), "use_distributed_sampler": False},
        parser_kwargs={"fit": {"prog": "stvae train"}},
        seed_everything_default=0,
    )
    return cli.trainer


def _keep_freed_memory() -> None:
    """Where the C library is glibc, let it keep what is freed: to get it anew from the system takes half of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, -1)
        mallopt(_TOP_PAD, 2**28)
        mallopt(_MMAP_THRESHOLD, 2**30)
