"""The rows of the paper's tables, and the results measured here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from stvae_ros.evaluation.paper.scores import Scores
from stvae_ros.files import replaced

RECIPES = ("paper", "modern")


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: of the row, and of its folder of results.
        table: "1" to "3", "other" for other frames than those of the tables, or "options".
        config: stem of its YAML file in config/paper.
        error: the paper's, in nats per pixel, or squared error for grey frames; None if the paper has none.
        recalled: the figure is not in our copies of the paper. It is a point of reference only.
        options: more arguments of `stvae train`.
        binary: its frames are binary and its error is cross-entropy; otherwise grey and squared error.
        lines: its frames have a vertical and a horizontal fixed line (the paper's Figure 5).
    """

    name: str
    table: str
    config: str
    error: float | None = None
    recalled: bool = False
    options: tuple[str, ...] = ()
    binary: bool = True
    lines: bool = False

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
        Row("conv-1enc-2lstm-intensities", "3", "conv-1enc-2lstm-intensities", 0.03186, binary=False),
        Row("conv-1enc-2lstm-gradients", "3", "conv-1enc-2lstm-gradients", 0.03095, binary=False),
        Row("conv-1enc-2lstm-both", "3", "conv-1enc-2lstm-both", 0.02964, binary=False),
        Row("ae-convlstm-flow-lines", "other", "ae-convlstm-flow", options=("--data.lines", "true"), lines=True),
        Row("ae-convlstm-flow-grey", "other", "ae-convlstm-flow-grey", binary=False),
        _option("plain"),
        _option("untied-first-step", "--model.options.untied_first_step", "true"),
        _option("recurrent-flow", "--model.options.recurrent_flow", "true"),
        _option("sparse-flow", "--model.loss.sparsity", "0.001"),
    )
}


@dataclass(frozen=True)
class Result:
    """What one trained row scored.

    Attributes:
        row, recipe, scale: which row, and how it was trained.
        parameters: of the network.
        gigaflops: of one step.
        seconds: of training.
        sequences: trained on.
        machine, digits: in words.
        scores: of the network.
        copy: scores of copying the last frame, on the same sequences.
    """

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
    copy: Scores

    @property
    def error(self) -> float | None:
        """The figure of its table."""
        return self.scores.bce if ROWS[self.row].binary else self.scores.mse

    @property
    def copy_error(self) -> float | None:
        """The same figure for copying the last frame."""
        return self.copy.bce if ROWS[self.row].binary else self.copy.mse

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        with replaced(path) as file:
            file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read what `save` wrote. Raises ValueError for another file."""
        try:
            values = json.loads(path.read_text())
            return cls(**values | {name: Scores(**values[name]) for name in ("scores", "copy")})
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: not a result ({error}); delete it and train the row again") from error
