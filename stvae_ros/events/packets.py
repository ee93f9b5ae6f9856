"""Decoder of event packets (event_camera_msgs/EventPacket) in the encodings EVT3, libcaer_cmp and libcaer.

EVT3 (Prophesee) and libcaer_cmp are streams of 16-bit words with a code of 4 bits and a value of 12 bits. A word either
sets the decoder's state or makes events. The state is the upper and the lower half of the time in microseconds, the
coordinate that the next events share, and the base coordinate and polarity of vectors. A vector is a bit mask of
neighbouring pixels. libcaer stores each event in 8 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.media import MediaError
from stvae_ros.events.arrays import Events

_Words = NDArray[np.int64]
_HALF = 12
"""Number of bits of a word's value, and of each half of the time."""
_ADDRESS = 0x7FF
_POLARITY = 0x800
_LAST_BASE = 1 << 62
"""Largest accepted time base in nanoseconds; the stamps of the events still fit into 64 bits."""


@dataclass(frozen=True)
class _Codes:
    """Codes of the words of one encoding.

    Attributes:
        shared: sets the coordinate that the next events share (row in EVT3, column in libcaer_cmp).
        single: makes one event.
        base: sets base coordinate and polarity of the next vectors.
        vectors: make events from a bit mask; number of bits by code.
        time_low: sets the lower half of the time.
        time_high: sets the upper half of the time.
    """

    shared: int
    single: int
    base: int
    vectors: dict[int, int]
    time_low: int
    time_high: int


_EVT3 = _Codes(shared=0x0, single=0x2, base=0x3, vectors={0x4: 12, 0x5: 8}, time_low=0x6, time_high=0x8)
_LIBCAER_CMP = _Codes(shared=2, single=3, base=4, vectors={5: 8}, time_low=1, time_high=0)

ENCODINGS = ("evt3", "libcaer_cmp", "libcaer")


class PacketDecoder:
    """Decodes the packets of one camera, in the order in which the camera sent them."""

    def __init__(self, encoding: str, height: int, width: int) -> None:
        """Starts without any state.

        Args:
            encoding: encoding of the packets, one of `ENCODINGS`.
            height: height of the sensor in pixels.
            width: width of the sensor in pixels. Events outside the sensor are dropped.

        Raises:
            MediaError: the encoding is unknown.
        """
        if encoding not in ENCODINGS:
            raise MediaError(f"event packets of encoding {encoding!r} are not supported: use {', '.join(ENCODINGS)}")
        self.encoding, self.height, self.width = encoding, height, width
        self._codes = _EVT3 if encoding == "evt3" else _LIBCAER_CMP
        # The state after the last packet, as words: shared coordinate, base with polarity and, in EVT3, the time.
        self._start: list[int] = []
        self._turns, self._timed = 0, encoding != "evt3"

    def decode(self, data: bytes | NDArray[np.uint8], time_base: int = 0) -> Events:
        """Decodes a packet.

        Args:
            data: the bytes of the packet. An incomplete word or event at the end is dropped.
            time_base: time base of the message in nanoseconds, the origin of libcaer's stamps. EVT3 ignores it: its
                stamps count from the start of the sensor.

        Returns:
            The events, sorted by time.

        Raises:
            MediaError: the time base is out of range.
        """
        if not 0 <= time_base < _LAST_BASE:
            raise MediaError(f"a packet of events with a time base of {time_base} ns is left out: it is damaged")
        data = np.frombuffer(data, np.uint8)
        if self.encoding == "libcaer":
            return self._records(data[: len(data) // 8 * 8].view("<u4").reshape(-1, 2), time_base)
        words = data[: len(data) // 2 * 2].view("<u2").astype(np.int64)
        words = np.concatenate([np.array(self._start, np.int64), words])
        if self.encoding != "evt3":
            return self._ordered(*self._events(words, self._time(words, None)), time_base)
        return self._ordered(*self._events(words, self._time(words, 1 << _HALF)), 0)

    def _time(self, words: _Words, turn: int | None) -> _Words:
        """Time in microseconds at each word, -1 where the time is not known yet.

        Args:
            words: the words of the packet.
            turn: the value at which the upper half of the time wraps around; None if it does not.
        """
        codes, values = words >> _HALF, words & 0xFFF
        is_high, is_low = codes == self._codes.time_high, codes == self._codes.time_low
        if not self._timed:
            if not is_high.any() or not is_low[is_high.argmax() :].any():
                return np.full(len(words), -1)
            first = int(is_high.argmax())
            is_low[:first] = False
            self._timed = True
        high = values[is_high]
        if turn is not None:
            # A small step back is no wrap-around.
            turns = self._turns + np.concatenate([[0], np.cumsum(np.diff(high) < -turn // 2)])[: len(high)]
            self._turns = int(turns[-1]) if len(turns) else self._turns
            high = high + turn * turns
        low = values[is_low]
        high_now = np.concatenate([[0], high])[np.cumsum(is_high)]
        low_now = np.concatenate([[0], low])[np.cumsum(is_low)]
        time = (high_now << _HALF) | low_now
        if turn is not None:
            time[(np.cumsum(is_high) == 0) | (np.cumsum(is_low) == 0)] = -1
        return time

    def _events(self, words: _Words, time: _Words) -> tuple[_Words, _Words, _Words, _Words]:
        """Time, coordinate along vectors, shared coordinate and polarity of each event, in the order of the words."""
        codes, values, order = words >> _HALF, words & 0xFFF, np.arange(len(words))
        which = self._codes
        widths = np.zeros(16, np.int64)
        for code, width in which.vectors.items():
            widths[code] = width
        passed = np.cumsum(widths[codes]) - widths[codes]
        shared = _latest(codes == which.shared, values & _ADDRESS)
        at_base = codes == which.base
        start = _latest(at_base, (values & _ADDRESS) - passed)
        vector_polarity = _latest(at_base, values & _POLARITY)

        single = codes == which.single
        bits = (widths[codes] > 0)[:, None] & (np.arange(12) < widths[codes][:, None])
        bits &= (values[:, None] >> np.arange(12)) & 1 == 1
        row, bit = np.nonzero(bits)
        along = np.concatenate([(values & _ADDRESS)[single], start[row] + passed[row] + bit])
        index = np.concatenate([order[single], row])
        polarity = np.concatenate([values[single] & _POLARITY, vector_polarity[row]])
        back = np.argsort(index, kind="stable")
        self._remember(shared, start + np.cumsum(widths[codes]), vector_polarity, words, codes)
        return time[index][back], along[back], shared[index][back], polarity[back]

    def _remember(self, shared: _Words, base: _Words, polarity: _Words, words: _Words, codes: _Words) -> None:
        """Keeps the state as words, which are put before the words of the next packet."""
        if not len(words):
            return
        which = self._codes
        start = [which.shared << _HALF | int(shared[-1])]
        start.append(which.base << _HALF | int(polarity[-1]) | int(base[-1]) & _ADDRESS)
        if self.encoding == "evt3" and self._timed:
            for code in (which.time_high, which.time_low):
                start.append(int(words[codes == code][-1]))
        self._start = start

    def _records(self, records: NDArray[np.uint32], time_base: int) -> Events:
        data, low = records[:, 0].astype(np.int64), records[:, 1].astype(np.int64)
        # The time has 31 bits of microseconds and may wrap around within a packet.
        time = low + (np.concatenate([[0], np.cumsum(np.diff(low) < 0)])[: len(low)] << 31)
        return self._ordered(time, data >> 2 & 0x7FFF, data >> 17 & 0x7FFF, data >> 1 & 1, time_base)

    def _ordered(self, time: _Words, along: _Words, shared: _Words, polarity: _Words, base: int) -> Events:
        """Sorts events by time, converts to nanoseconds, drops events outside the sensor or without a known time."""
        x, y = (along, shared) if self.encoding == "evt3" else (shared, along)
        keep = (time >= 0) & (x < self.width) & (y < self.height)
        order = np.flatnonzero(keep)
        order = order[np.argsort(time[order], kind="stable")]
        return Events.of(base + 1000 * time[order], x[order], y[order], polarity[order] != 0)


def _latest(found: NDArray[np.bool_], values: _Words) -> _Words:
    """At each index, the value at the last index up to it where ``found`` is True; 0 before the first."""
    return np.concatenate([[0], values[found]])[np.cumsum(found)]
