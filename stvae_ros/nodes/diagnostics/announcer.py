"""Warnings of /diagnostics in the log, too, for those who look at a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_LASTING = 6.0
"""Seconds that a warning lasts before it is logged; /diagnostics shows a single bad frame for five."""
_FORGOTTEN = 10.0
"""Seconds after which a warning that is gone is forgotten. If it comes again, it is logged again."""


class Announcer:
    """Logs each warning once, when it has lasted for some seconds. Its numbers may change meanwhile."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._logged: set[str] = set()

    def show(self, now: float, sentences: Iterable[str], log: Callable[[str], object]) -> None:
        """Take the present warnings, in seconds of a monotonic clock, and ``log`` those that have lasted."""
        for sentence in sentences:
            kind = re.sub(r"\d+(\.\d+)?", "0", sentence)
            self._last[kind] = now
            if now - self._first.setdefault(kind, now) >= _LASTING and kind not in self._logged:
                self._logged.add(kind)
                log(sentence)
        for kind in [kind for kind, last in self._last.items() if now - last > _FORGOTTEN]:
            del self._first[kind], self._last[kind]
            self._logged.discard(kind)
