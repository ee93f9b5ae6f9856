"""The paper's tables with ours beside them: Markdown, CSV, and a plot of error against training time."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from stvae_ros.evaluation.paper.rows import RECIPES, ROWS, Result, Row
from stvae_ros.evaluation.paper.scores import Scores

_TITLES = {
    "1": "Table 1: final version, binary frames, cross-entropy in nats per pixel",
    "2": "Table 2: first version, binary frames, cross-entropy in nats per pixel",
    "3": "Table 3: conv-1enc-2lstm on grey frames, by training loss, squared error per pixel",
    "options": "Options of the family, on conv-2enc-1lstm; cross-entropy in nats per pixel",
}


def write_report(results: Sequence[Result], copies: Mapping[bool, Scores], output: Path) -> None:
    """Write results.md, results.csv and error-against-time.png into ``output``, which holds ``ROW.RECIPE/curve.csv``.

    copies: scores of copying the last frame, on binary frames (True) and grey ones (False).
    """
    (output / "results.md").write_text(markdown(results, copies))
    with open(output / "results.csv", "w", newline="") as file:
        lines = [{**asdict(result), **asdict(result.scores), "paper": ROWS[result.row].error} for result in results]
        names = [name for name in lines[0] if name != "scores"]
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    _plot(results, output)


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
            f"| copy last | 0 | - | - | {_number(copied, 5)} | {_number(copy.epe_zero, 2)} | - | - | - | - |",
        ]
        for row in rows:
            for recipe in RECIPES:
                if recipe in by_row[row.name]:
                    parts.append(_line(row, by_row[row.name][recipe]))
        if any(row.recalled for row in rows):
            parts += ["", "\\* recalled, not in the copies of the paper that we have: a point of reference."]
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


def _plot(results: Sequence[Result], folder: Path) -> None:
    tables = [table for table in _TITLES if any(ROWS[result.row].table == table for result in results)]
    figure = Figure(figsize=(9, 4.5 * len(tables)), layout="constrained")
    axes = figure.subplots(len(tables), 1, squeeze=False)
    for axis, table in zip(axes[:, 0], tables, strict=True):
        column = "mse" if table == "3" else "bce"
        names: list[str] = []
        for result in results:
            row = ROWS[result.row]
            if row.table != table:
                continue
            if row.name not in names:
                names.append(row.name)
            with open(folder / f"{result.row}.{result.recipe}" / "curve.csv", newline="") as file:
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
    figure.savefig(folder / "error-against-time.png", dpi=100)
