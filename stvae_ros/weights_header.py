"""What a safetensors file says that it holds, checked before anything is allocated for it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

_MAX_HEADER = 4 * 2**20
_MAX_DIMENSIONS = 8
_SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "I64": 8, "F64": 8}


class WeightsError(ValueError):
    """Weights that cannot be used; the message names the file, what is wrong and what to do."""


class Header(NamedTuple):
    """Metadata, and the shape of each tensor by name."""

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


def read_header(path: str | Path) -> Header:
    """The header of a safetensors file whose tensors fill it without gap or overlap. Raises WeightsError."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if total < 8 or length > total - 8:
            raise _unreadable(path, f"{total} bytes cannot hold a header of {length}")
        if length > _MAX_HEADER:
            raise _unreadable(path, f"a header of {length} bytes; at most {_MAX_HEADER} are read")
        text = file.read(length)
    try:
        entries = json.loads(text, object_pairs_hook=_without_duplicates)
        metadata = entries.pop("__metadata__", {})
        spans = [_span(name, entry) for name, entry in entries.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unreadable(path, f"its header: {error}") from error
    if not all(isinstance(value, str) for value in metadata.values()):
        raise _unreadable(path, "its metadata is not text")
    end = 0
    for begin, stop, name in sorted(spans):
        if begin != end:
            raise _unreadable(path, f"tensor {name[:80]!r} starts at byte {begin}, not where the last ends, {end}")
        end = stop
    if end != total - 8 - length:
        raise _unreadable(path, f"its tensors take {end} bytes, and {total - 8 - length} are there")
    return Header(metadata, {name: tuple(entry["shape"]) for name, entry in entries.items()})


def _span(name: str, entry: dict[str, Any]) -> tuple[int, int, str]:
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    numbers = [*shape, begin, end]
    if len(shape) > _MAX_DIMENSIONS or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"tensor {name[:80]!r} has no proper shape and place")
    if end - begin != prod(shape) * _SIZES[entry["dtype"]]:
        raise ValueError(f"tensor {name[:80]!r} has a place of another size than its shape")
    return begin, end, name


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name that comes twice")
    return entries


def _unreadable(path: Path, problem: str) -> WeightsError:
    return WeightsError(
        f"{path}: not a readable safetensors file ({problem}); it may be truncated: copy or export it again"
    )
