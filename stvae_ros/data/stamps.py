"""Time stamps of frames, from a file."""

from __future__ import annotations

import csv
import json
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Any

UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Nanoseconds of each."""


class StampError(ValueError):
    """Time stamps that cannot be used; the message names the file and the line."""


def read_stamps(path: str | Path, field: str | None = None, unit: str = "s") -> list[int]:
    """Stamps in nanoseconds, one a line, each later than the one before.

    path: .jsonl (one object a line) or .csv (with a header), whose ``field`` has the stamp; any other file has one
    number a line. unit: s, ms, us or ns. Raises StampError.
    """
    path = Path(path)
    try:
        values = _values(path, field)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StampError(f"{path}: stamps cannot be read: {error}") from error
    stamps = []
    for line, value in enumerate(values, start=1):
        try:
            # Decimal: as a float, a stamp of today in seconds is off by more than 100 ns.
            stamps.append(int(Decimal(str(value)) * UNITS[unit]))
        except (InvalidOperation, ValueError) as error:
            raise StampError(f"{path}: entry {line}: {value!r} is no number of {unit}") from error
    for line, (before, after) in enumerate(pairwise(stamps), start=2):
        if after <= before:
            raise StampError(f"{path}: entry {line} is not later than the one before; stamps must increase")
    if not stamps:
        raise StampError(f"{path}: there are no stamps")
    return stamps


def _values(path: Path, field: str | None) -> list[Any]:
    if path.suffix not in (".jsonl", ".csv"):
        return path.read_text().split()
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(x) for x in file if x.strip()]
    if field is None:
        raise StampError(f"{path}: say which field has the stamp; there are: {', '.join(rows[0] if rows else ())}")
    missing = next((index for index, row in enumerate(rows, start=1) if row.get(field) is None), None)
    if missing is not None:
        raise StampError(f"{path}: entry {missing} has no field {field!r}")
    return [row[field] for row in rows]
