"""The rows of the paper's tables and what was measured of them here."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from stvae_ros.evaluation.paper.scores import Scores

RECIPES = ("paper", "modern")
COPY_LAST = "copy last"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    config: stem of its YAML file under config/paper. error: the paper's, in nats per pixel (tables 1 and 2) or
    squared error (table 3); None for what the paper did not measure. recalled: not in the copies of the paper that
    we have, so a point of reference only. options: further arguments of `stvae train`.
    """

    name: str
    table: str
    config: str
    error: float | None = None
    recalled: bool = False
    options: tuple[str, ...] = ()

    @property
    def binary(self) -> bool:
        """Whether its frames are binary and its error is cross-entropy."""
        return self.table != "3"

    @property
    def has_flow(self) -> bool:
        """Whether its system predicts flow."""
        return self.config not in ("ae-conv", "ae-fclstm", "ae-convlstm")


def _option(name: str, *options: str) -> Row:
    return Row(f"conv-2enc-1lstm-{name}", "options", "conv-2enc-1lstm", options=options)


ROWS = {
    row.name: row
    for row in (
        Row("ae-conv", "1", "ae-conv", 0.0948, recalled=True),
        Row("ae-fclstm", "1", "ae-fclstm", 0.0650, recalled=True),
        Row("ae-convlstm", "1", "ae-convlstm", 0.0641, recalled=True),
        Row("ae-convlstm-flow", "1", "ae-convlstm-flow", 0.0439, recalled=True),
        Row("conv-1enc-1lstm", "2", "conv-1enc-1lstm", 0.12827),
        Row("conv-1enc-2lstm", "2", "conv-1enc-2lstm", 0.09116),
        Row("conv-2enc-1lstm", "2", "conv-2enc-1lstm", 0.11810),
        Row("conv-2enc-2lstm", "2", "conv-2enc-2lstm", 0.08346),
        Row("fc-2enc-1lstm", "2", "fc-2enc-1lstm", 0.15648),
        Row("fc-2enc-2lstm", "2", "fc-2enc-2lstm", 0.14484),
        Row("conv-1enc-2lstm-intensities", "3", "conv-1enc-2lstm-intensities", 0.03186),
        Row("conv-1enc-2lstm-gradients", "3", "conv-1enc-2lstm-gradients", 0.03095),
        Row("conv-1enc-2lstm-both", "3", "conv-1enc-2lstm-both", 0.02964),
        _option("plain"),
        _option("untied-first-step", "--model.options.untied_first_step", "true"),
        _option("recurrent-flow", "--model.options.recurrent_flow", "true"),
        _option("sparse-flow", "--model.loss.sparsity", "0.001"),
    )
}


@dataclass(frozen=True)
class Result:
    """What one trained row scored. seconds: of training; sequences: trained on; machine, digits: in words."""

    row: str
    recipe: str
    scale: str
    parameters: int
    gigaflops: float
    seconds: float
    sequences: int
    machine: str
    digits: str
    scores: Scores

    @property
    def error(self) -> float | None:
        """The figure of its table."""
        return self.scores.bce if ROWS[self.row].binary else self.scores.mse

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n")
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read back. Raises ValueError for a file that is not one."""
        try:
            values = json.loads(path.read_text())
            return cls(**{**values, "scores": Scores(**values["scores"])})
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: not a result ({error}); delete it to have it made again") from error
