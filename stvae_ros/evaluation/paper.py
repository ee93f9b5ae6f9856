"""The rows of the paper's tables, what was measured of them, and the report that sets the two side by side."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from stvae_ros.evaluation.moving_mnist import Scores

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

_TITLES = {
    "1": "Table 1: final version, binary frames, cross-entropy in nats per pixel",
    "2": "Table 2: first version, binary frames, cross-entropy in nats per pixel",
    "3": "Table 3: conv-1enc-2lstm on grey frames, by training loss, squared error per pixel",
    "options": "Options of the family, on conv-2enc-1lstm; cross-entropy in nats per pixel",
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
        return self.scores.bce if row_of(self).binary else self.scores.mse

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


def row_of(result: Result) -> Row:
    """The row that a result is of; copying the last frame stands in no table."""
    return ROWS[result.row]


def write_report(results: Sequence[Result], copies: Mapping[bool, Scores], curves: Path, output: Path) -> None:
    """Write results.md, results.csv and error-against-time.png into ``output``.

    copies: scores of copying the last frame, on binary frames (True) and grey ones (False). curves: the folder that
    holds ``ROW.RECIPE/curve.csv``.
    """
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.md").write_text(markdown(results, copies))
    with open(output / "results.csv", "w", newline="") as file:
        lines = [{**asdict(result), **asdict(result.scores), "paper": row_of(result).error} for result in results]
        names = [name for name in lines[0] if name != "scores"]
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    _plot(results, curves, output / "error-against-time.png")


def markdown(results: Sequence[Result], copies: Mapping[bool, Scores]) -> str:
    """The tables, with copying the last frame as the first line of each."""
    by_row: dict[str, dict[str, Result]] = {}
    for result in results:
        by_row.setdefault(result.row, {})[result.recipe] = result
    parts = []
    for table, title in _TITLES.items():
        rows = [row for row in ROWS.values() if row.table == table and row.name in by_row]
        if not rows:
            continue
        copy = copies[table != "3"]
        copied = copy.bce if table != "3" else copy.mse
        parts += [
            f"### {title}",
            "",
            "| system | parameters | paper | recipe | error | end-point error (px) | flicker (px) "
            "| training | sequences | on |",
            "|---|---|---|---|---|---|---|---|---|---|",
            f"| {COPY_LAST} | 0 | - | - | {_number(copied, 5)} | {_number(copy.epe_zero, 2)} | - | - | - | - |",
        ]
        for row in rows:
            for recipe in RECIPES:
                if recipe in by_row[row.name]:
                    parts.append(_line(row, by_row[row.name][recipe]))
        parts.append("")
    return "\n".join(parts)


def _line(row: Row, result: Result) -> str:
    paper = "-" if row.error is None else f"{row.error}{' *' if row.recalled else ''}"
    cells = [
        f"`{row.name}`",
        f"{result.parameters:,}",
        paper,
        result.recipe,
        _number(result.error, 5),
        _number(result.scores.epe, 2),
        _number(result.scores.flicker, 2),
        f"{result.seconds / 60:.1f} min",
        f"{result.sequences:,}",
        result.machine,
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _plot(results: Sequence[Result], curves: Path, path: Path) -> None:
    tables = [table for table in _TITLES if any(row_of(result).table == table for result in results)]
    figure, axes = pyplot.subplots(len(tables), 1, figsize=(9, 4.5 * len(tables)), squeeze=False)
    for axis, table in zip(axes[:, 0], tables, strict=True):
        column = "mse" if table == "3" else "bce"
        names: list[str] = []
        for result in results:
            row = row_of(result)
            if row.table != table:
                continue
            if row.name not in names:
                names.append(row.name)
            with open(curves / f"{result.row}.{result.recipe}" / "curve.csv", newline="") as file:
                points = [(float(line["seconds"]) / 60, float(line[column])) for line in csv.DictReader(file)]
            color = f"C{names.index(row.name)}"
            style = "-" if result.recipe == "modern" else "--"
            axis.plot(*zip(*points, strict=True), style, color=color, label=f"{row.name}, {result.recipe} recipe")
            if row.error is not None:
                axis.axhline(row.error, color=color, linewidth=0.7, linestyle=":")
        axis.set(title=_TITLES[table], xlabel="training time (minutes)", ylabel="error (validation during training)")
        axis.set_yscale("log")
        axis.grid(which="both", alpha=0.3)
        axis.legend(fontsize=8, title="dotted: the paper's figure", title_fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
