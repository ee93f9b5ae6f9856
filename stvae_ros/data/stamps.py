"""Reader of time stamps of frames from text, CSV and JSON Lines files."""

from __future__ import annotations

import csv
import json
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Any

UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Units of time in nanoseconds."""


class StampError(ValueError):
    """Time stamps cannot be used. The message names the file and the entry."""


def read_stamps(path: str | Path, field: str | None = None, unit: str = "s") -> list[int]:
    """Reads time stamps, which must increase.

    Args:
        path: a .jsonl file (one object per line), a .csv file with a header, or any other file with one number per
            line.
        field: field of a .jsonl or .csv file that holds the stamp.
        unit: unit of the stamps, a key of `UNITS`.

    Returns:
        The stamps in nanoseconds.

    Raises:
        StampError: the file cannot be read, has no stamps or has a bad one.
    """
    path = Path(path)
    try:
        values = _values(path, field)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StampError(f"{path}: stamps cannot be read: {error}") from error
    stamps = []
    for entry, value in enumerate(values, start=1):
        try:
            # Decimal: a float in seconds since 1970 is off by more than 100 ns.
            stamps.append(int(Decimal(str(value)) * UNITS[unit]))
        except (InvalidOperation, ValueError) as error:
            raise StampError(f"{path}: entry {entry}: {value!r} is no number of {unit}") from error
    for entry, (before, after) in enumerate(pairwise(stamps), start=2):
        if after <= before:
            raise StampError(f"{path}: entry {entry} is not later than the one before; stamps must increase")
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
    for entry, row in enumerate(rows, start=1):
        if row.get(field) is None:
            raise StampError(f"{path}: entry {entry} has no field {field!r}")
    return [row[field] for row in rows]
