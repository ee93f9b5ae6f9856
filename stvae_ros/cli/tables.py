"""Tables of results on the terminal, and as JSON, CSV or Markdown."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import rich.table
from rich.console import Console

Cell = str | float | None
"""None and NaN mean that there is no value."""
FORMATS = ("table", "json", "csv", "markdown")
_MISSING = "-"
_PADDING = 3
"""Width in characters that a column takes beside its text."""


class Figure(float):
    """A number with the format in which text shows it, such as ".2f"; JSON and CSV keep all digits."""

    form: str

    def __new__(cls, value: float, form: str) -> Figure:
        """Create the number."""
        figure = super().__new__(cls, value)
        figure.form = form
        return figure


@dataclass(frozen=True)
class Table:
    """A table of results.

    Args:
        title: one line.
        columns: the headings. The first column names the rows.
        rows: a cell for each column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def add_format_option(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--format``."""
    parser.add_argument("--format", choices=FORMATS, default="table", help="how to print results (default: table)")


def show(tables: Sequence[Table], form: str) -> None:
    """Print tables on stdout.

    A table that is wider than the terminal is printed in several parts. Piped output has no limit of width.

    Args:
        tables: the tables, in order.
        form: one of `FORMATS`.
    """
    if form == "json":
        print(json.dumps([{"title": table.title, "rows": _records(table)} for table in tables], indent=1))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for table in tables:
            writer.writerow(["table", *table.columns])
            writer.writerows([table.title, *("" if _is_missing(cell) else cell for cell in row)] for row in table.rows)
    elif form == "markdown":
        print("\n\n".join(_markdown(table) for table in tables))
    else:
        width = None if sys.stdout.isatty() else sys.maxsize
        console = Console(width=width, markup=False, emoji=False, highlight=False)
        for table in tables:
            for part in _parts(table, console.width):
                console.print(_drawn(part))


def _is_missing(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _text(cell: Cell) -> str:
    if cell is None or _is_missing(cell):
        return _MISSING
    return format(cell, cell.form) if isinstance(cell, Figure) else str(cell)


def _records(table: Table) -> list[dict[str, Cell]]:
    cells = ([None if _is_missing(cell) else cell for cell in row] for row in table.rows)
    return [dict(zip(table.columns, row, strict=True)) for row in cells]


def _markdown(table: Table) -> str:
    rows = [table.columns, *([_text(cell) for cell in row] for row in table.rows)]
    first, *others = ("| " + " | ".join(text.replace("|", r"\|") for text in row) + " |" for row in rows)
    rule = "|" + "---|" * len(table.columns)
    return "\n".join([table.title, "", first, rule, *others])


def _parts(table: Table, width: int) -> list[Table]:
    """Split the columns so that each part fits into ``width`` characters; each part begins with the first column."""
    lengths = _lengths(table)
    groups: list[list[int]] = [[]]
    for index in range(1, len(table.columns)):
        if groups[-1] and sum(lengths[k] + _PADDING for k in (0, *groups[-1], index)) + 1 > width:
            groups.append([])
        groups[-1].append(index)
    return [
        Table(
            table.title,
            [table.columns[k] for k in (0, *group)],
            [[row[k] for k in (0, *group)] for row in table.rows],
        )
        for group in groups
    ]


def _lengths(table: Table) -> list[int]:
    """The least width of each column: that of its longest word, or in the first column of its longest text."""
    lengths = []
    for index, heading in enumerate(table.columns):
        texts = [heading, *(_text(row[index]) for row in table.rows)]
        words = texts if index == 0 else [word for text in texts for word in text.split()]
        lengths.append(max(map(len, words), default=0))
    return lengths


def _drawn(table: Table) -> rich.table.Table:
    drawn = rich.table.Table(title=table.title)
    for index, (heading, length) in enumerate(zip(table.columns, _lengths(table), strict=True)):
        left = index == 0 or all(isinstance(row[index], str) for row in table.rows)
        drawn.add_column(heading, justify="left" if left else "right", min_width=length)
    for row in table.rows:
        drawn.add_row(*map(_text, row))
    return drawn
