"""`stvae train`: train a network with Lightning from a YAML recipe."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from lightning.pytorch.cli import LightningCLI

from stvae_ros.training.data import SequenceData
from stvae_ros.training.module import NextFrameModule


def train(arguments: Sequence[str]) -> None:
    """Train as ``arguments`` say; a run that was interrupted goes on from its last checkpoint.

    The options are Lightning's: ``--config FILE``, ``--trainer.*``, ``--model.*``, ``--data.*``, ``--help``.
    """
    # It suspects a mistake when both `args` and a command line are there; here one is made from the other.
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")
    # Ours goes on where it stopped, by the number of steps instead of a state of its own.
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable")
    LightningCLI(
        NextFrameModule,
        SequenceData,
        args=["fit", *arguments],
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"fit": {"prog": "stvae train"}},
        seed_everything_default=0,
    )
