"""The paper's tables with ours beside them: Markdown, CSV, and a plot of error against training time."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from stvae_ros.evaluation.paper.rollouts import PREDICTED, REFERENCES, Rollout
from stvae_ros.evaluation.paper.rows import RECIPES, ROWS, Result, Row
from stvae_ros.files import replaced

_TITLES = {
    "1": "Table 1: final version, binary frames, cross-entropy in nats per pixel",
    "2": "Table 2: first version, binary frames, cross-entropy in nats per pixel",
    "3": "Table 3: conv-1enc-2lstm on grey frames, by training loss, squared error per pixel",
    "other": "Other frames: with two fixed lines (cross-entropy) and grey (squared error)",
    "options": "Options of the family, on conv-2enc-1lstm; cross-entropy in nats per pixel",
}
_OPTIONAL = ("other", "options")
"""Tables that show only the rows that are done."""


def write_report(output: Path) -> str:
    """Write results.md, results.csv and error-against-time.png for the rows that are done.

    Args:
        output: holds a folder ``ROW.RECIPE`` for each row, with ``result.json`` and ``curve.csv``, and with
            ``rollout.json`` if it was measured.

    Returns:
        The text of results.md.

    Raises:
        ValueError: a file is damaged.
    """
    folders = {(name, recipe): output / f"{name}.{recipe}" for name in ROWS for recipe in RECIPES}
    done = {key: Result.load(path / "result.json") for key, path in folders.items() if (path / "result.json").exists()}
    rollouts = {
        key: Rollout.load(folders[key] / "rollout.json") for key in done if (folders[key] / "rollout.json").exists()
    }
    text = markdown(done, rollouts)
    with replaced(output / "results.md") as file:
        file.write_text(text)
    with replaced(output / "results.csv") as file, file.open("w", newline="") as stream:
        lines = [{**asdict(each), **asdict(each.scores), "paper": ROWS[each.row].error} for each in done.values()]
        names = [name for name in (lines or [{}])[0] if name not in ("scores", "copy")]
        writer = csv.DictWriter(stream, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    if done:
        _plot(list(done.values()), output)
    return text


def markdown(results: Mapping[tuple[str, str], Result], rollouts: Mapping[tuple[str, str], Rollout]) -> str:
    """The tables as Markdown: results and rollouts by row and recipe."""
    parts: list[str] = []
    for table, title in _TITLES.items():
        rows = [row for row in ROWS.values() if row.table == table]
        if table in _OPTIONAL and not any(row.name == name for row in rows for name, _ in results):
            continue
        parts += [
            f"### {title}",
            "",
            "| system | parameters | paper | recipe | error | copying | end-point error (px) | no flow | flicker (px) "
            "| training | sequences | on |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
            *(line for row in rows for line in _lines(row, results)),
        ]
        if any(row.recalled for row in rows):
            parts += ["", "\\* recalled, not in our copies of the paper: a point of reference."]
        parts.append("")
    if rollouts:
        parts += [*_rollout_table(rollouts), ""]
    return "\n".join(parts)


def _lines(row: Row, results: Mapping[tuple[str, str], Result]) -> Iterator[str]:
    paper = "-" if row.error is None else f"{row.error}{' *' if row.recalled else ''}"
    found = [results[row.name, recipe] for recipe in RECIPES if (row.name, recipe) in results]
    if not found and row.table not in _OPTIONAL:
        yield f"| `{row.name}` | | {paper} | not trained yet | | | | | | | | |"
    for result in found:
        cells = [
            f"`{row.name}`",
            f"{result.parameters:,}",
            paper,
            result.recipe,
            _number(result.error, 5),
            _number(result.copy_error, 5),
            _number(result.scores.epe, 2),
            _number(result.scores.epe_zero if row.has_flow else None, 2),
            _number(result.scores.flicker, 2),
            f"{result.seconds / 60:.1f} min",
            f"{result.sequences:,}",
            result.machine,
        ]
        yield f"| {' | '.join(cells)} |"


def _rollout_table(rollouts: Mapping[tuple[str, str], Rollout]) -> Iterator[str]:
    yield "### Ten frames seen, ten predicted: errors summed over the pixels of a frame, means of the ten frames"
    yield ""
    yield "| network | frames | sequences | squared error | first frame | tenth frame | absolute error | SSIM |"
    yield "|---|---|---|---|---|---|---|---|"
    for (row, recipe), found in rollouts.items():
        cells = [
            f"`{row}`, {recipe} recipe",
            "binary" if found.binary else "grey",
            f"{found.sequences:,} {found.source}",
            f"{sum(found.mse) / PREDICTED:.1f}",
            f"{found.mse[0]:.1f}",
            f"{found.mse[-1]:.1f}",
            f"{sum(found.mae) / PREDICTED:.1f}",
            f"{sum(found.ssim) / PREDICTED:.3f}",
        ]
        yield f"| {' | '.join(cells)} |"
    for name, error in REFERENCES.items():
        yield f"| {name} (OpenSTL's table) | grey | mnist_test_seq.npy | {error:.2f} | | | | |"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _plot(results: Sequence[Result], folder: Path) -> None:
    tables = [table for table in _TITLES if any(ROWS[result.row].table == table for result in results)]
    figure = Figure(figsize=(9, 4.5 * len(tables)), layout="constrained")
    axes = figure.subplots(len(tables), 1, squeeze=False)
    for axis, table in zip(axes[:, 0], tables, strict=True):
        names: list[str] = []
        for result in results:
            row = ROWS[result.row]
            if row.table != table:
                continue
            if row.name not in names:
                names.append(row.name)
            column = "bce" if row.binary else "mse"
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
    with replaced(folder / "error-against-time.png") as file:
        figure.savefig(file, dpi=100)
