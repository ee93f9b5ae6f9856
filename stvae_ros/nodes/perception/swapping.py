"""Another network while the node is at work: prepared at once, warmed up in the background, then put in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from stvae_ros.nodes.perception.loading import (
    SWAPPABLE,
    Loaded,
    in_thread,
    load_aside,
    prepare,
    thread_count,
    unmeasured,
)


class Swap:
    """At most one network warms up at a time, and of those asked for meanwhile only the last one will.

    ready: called on the background thread when `take` has something. All methods are for the executor's thread.
    """

    def __init__(self, ready: Callable[[], object]) -> None:
        self._ready = ready
        self._offered: Mapping[str, Any] | None = None
        self._waiting: Mapping[str, Any] | None = None
        self._under_way: Future[Loaded] | None = None

    @property
    def in_progress(self) -> bool:
        """Whether a network is being warmed up, or waits to be."""
        return self._under_way is not None

    def offer(self, values: Mapping[str, Any], current: Mapping[str, Any]) -> None:
        """Check the network that the parameters ``values`` ask for; none if they are those in use, ``current``.

        Raises what `prepare` does; then everything stays as it is.
        """
        wanted = [values[name] for name in SWAPPABLE] != [current[name] for name in SWAPPABLE]
        if wanted:
            in_thread(lambda: prepare(unmeasured(values)), thread_count(values)).result()
        self._offered = values if wanted else None

    def accept(self) -> None:
        """The parameters have been set: warm up what was offered last, or nothing if they are those in use again."""
        if self._offered is None:
            self.cancel()
            return
        self._waiting, self._offered = self._offered, None
        if self._under_way is None:
            self._start()

    def take(self) -> tuple[Loaded | None, str]:
        """The network that is ready, None if there is none, and why it failed, empty if it did not.

        A network is forgotten where another has been asked for since.
        """
        if self._under_way is None or not self._under_way.done():
            return None, ""
        done, self._under_way = self._under_way, None
        if self._waiting is not None:
            self._start()
            return None, ""
        error = done.exception()
        return (done.result(), "") if error is None else (None, str(error))

    def cancel(self) -> None:
        """Forget all of it."""
        self._offered = self._waiting = self._under_way = None

    def _start(self) -> None:
        if self._waiting is None:
            return
        values, self._waiting = self._waiting, None
        # On one thread: more would keep the network at work from its cores.
        self._under_way = in_thread(lambda: load_aside(values), threads=1)
        self._under_way.add_done_callback(self._report)

    def _report(self, future: Future[Loaded]) -> None:
        if self._under_way is future:
            self._ready()
