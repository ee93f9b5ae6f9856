"""Tables of figures on the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table


def figures_table(title: str, headings: Iterable[str], words: int = 1) -> Table:
    """A table without rows; the first ``words`` columns hold words, the others figures."""
    table = Table(title=title)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < words else "right")
    return table
