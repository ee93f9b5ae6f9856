"""Readers of event-camera recordings: text, HDF5 (DSEC, MVSEC), AEDAT 4 and rosbags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from stvae_ros.data.bags.bag import EVENT_PACKET, Bag, BagError
from stvae_ros.data.bags.storage import STORAGE_SUFFIXES
from stvae_ros.data.media import MediaError
from stvae_ros.events.arrays import Events
from stvae_ros.events.packets import PacketDecoder

_CHUNK = 1_000_000
"""Number of events read at once."""


@dataclass(frozen=True)
class EventRecording:
    """A recording of an event camera.

    Attributes:
        name: name of the file or folder without suffix.
        height: height of the sensor in pixels.
        width: width of the sensor in pixels.
        read: starts reading at the first event; yields the events in chunks, sorted by time.
    """

    name: str
    height: int
    width: int
    read: Callable[[], Iterator[Events]]


def open_events(path: str | Path, topic: str | None = None) -> EventRecording:
    """Opens a recording of an event camera.

    Formats, by suffix:

    - `.txt`, `.csv`: one event per line, `t x y p`. t is in seconds with a decimal point, or in whole microseconds.
      p is 1 (ON), 0 or -1 (OFF). A first line of two numbers is the width and height of the sensor. Without it, the
      size is that of the pixels with events.
    - `.h5`, `.hdf5`: DSEC (`events/t`, ...) or MVSEC (`davis/left/events`); needs the package h5py.
    - `.aedat4`: needs the package aedat.
    - rosbag2 (see `Bag`): messages of type event_camera_msgs/EventPacket. Stamps are those of the sensor.

    Args:
        path: the recording.
        topic: topic of the event packets in a bag; None takes the only one.

    Returns:
        The recording. Events are read in chunks on demand.

    Raises:
        MediaError: the recording cannot be read, or a package is missing.
    """
    path = Path(path)
    if not path.exists():
        raise MediaError(f"{path}: no such recording")
    if path.is_dir() or path.name.endswith(STORAGE_SUFFIXES):
        return _open_bag(path, topic)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise MediaError(f"{path}: not a recording of events; give {known}, .mcap, .db3 or a bag")
    return reader(path)


def is_event_file(path: str | Path) -> bool:
    """Tells by the suffix alone whether a file holds only events. Bags do not count: they may also hold images."""
    return Path(path).suffix.lower() in _READERS


def _package(name: str, path: Path) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MediaError(f"{path}: reading this file needs the package {name}: pip install {name}") from error


def _open_text(path: Path) -> EventRecording:
    with path.open() as file:
        first = file.readline().replace(",", " ").split()
    header = len(first) == 2

    def read() -> Iterator[Events]:
        with path.open() as file:
            line = int(header)
            for _ in range(line):
                file.readline()
            while lines := list(islice(file, _CHUNK)):
                # float64 is exact to the nanosecond for 100 days.
                try:
                    fields = [text.replace(",", " ").split() for text in lines if text.strip()]
                    t, x, y, p = np.array(fields, np.float64).reshape(len(fields), 4).T
                except ValueError as error:
                    raise MediaError(f"{path}: expected 't x y p' per line from line {line + 1} on: {error}") from error
                scale = 1e9 if "." in lines[0].split()[0] else 1e3
                yield Events.of(np.round(t * scale), x, y, p > 0)
                line += len(lines)

    if header:
        return EventRecording(path.stem, int(first[1]), int(first[0]), read)
    extents = [(int(part.y.max()) + 1, int(part.x.max()) + 1) for part in read() if len(part)]
    if not extents:
        raise MediaError(f"{path}: the recording has no events")
    height, width = np.max(extents, axis=0).tolist()
    return EventRecording(path.stem, height, width, read)


def _open_hdf5(path: Path) -> EventRecording:
    h5py = _package("h5py", path)
    with suppress(ImportError):
        import_module("hdf5plugin")  # Registers the compression of DSEC.
    try:
        with h5py.File(path) as file:
            is_dsec, is_mvsec = "events/t" in file, "davis/left/events" in file
    except OSError as error:
        raise MediaError(f"{path}: not a readable HDF5 file ({error})") from error
    if not is_dsec and not is_mvsec:
        raise MediaError(f"{path}: the file has neither events/t (DSEC) nor davis/left/events (MVSEC)")

    def read() -> Iterator[Events]:
        try:
            with h5py.File(path) as file:
                yield from _dsec(file) if is_dsec else _mvsec(file["davis/left/events"])
        except OSError as error:
            raise MediaError(f"{path}: {error}; the compression of DSEC needs the package hdf5plugin") from error

    height, width = (480, 640) if is_dsec else (260, 346)
    return EventRecording(path.stem, height, width, read)


def _dsec(file: Any) -> Iterator[Events]:
    """Events of DSEC: one data set per field; t is in microseconds after ``t_offset``."""
    offset = int(file["t_offset"][()]) if "t_offset" in file else 0
    group = file["events"]
    for start in range(0, len(group["t"]), _CHUNK):
        t, x, y, p = (group[name][start : start + _CHUNK] for name in "txyp")
        yield Events.of((t.astype(np.int64) + offset) * 1000, x, y, p > 0)


def _mvsec(rows: Any) -> Iterator[Events]:
    """Events of MVSEC: rows of x, y, seconds and polarity."""
    for start in range(0, len(rows), _CHUNK):
        x, y, t, p = np.asarray(rows[start : start + _CHUNK], np.float64).T
        yield Events.of(np.round(t * 1e9), x, y, p > 0)


def _open_aedat4(path: Path) -> EventRecording:
    aedat = _package("aedat", path)
    try:
        streams = aedat.Decoder(str(path)).id_to_stream()
    except Exception as error:  # aedat raises various types, also RuntimeError.
        raise MediaError(f"{path}: not a readable AEDAT 4 file ({error})") from error
    stream = next((stream for stream in streams.values() if stream["type"] == "events"), None)
    if stream is None:
        raise MediaError(f"{path}: the file has no stream of events")

    def read() -> Iterator[Events]:
        for packet in aedat.Decoder(str(path)):
            if "events" in packet:
                events = packet["events"]
                yield Events.of(events["t"].astype(np.int64) * 1000, events["x"], events["y"], events["on"])

    return EventRecording(path.stem, stream["height"], stream["width"], read)


def _open_bag(path: Path, topic: str | None) -> EventRecording:
    try:
        bag = Bag(path)
        found = [name for name, other in bag.topics.items() if other.kind == EVENT_PACKET and topic in (None, name)]
        if len(found) != 1:
            where = f"on topics {', '.join(found)}; say which" if found else f"not on {topic or 'any topic'}"
            raise MediaError(f"{path}: messages of {EVENT_PACKET} are {where}")
        first = next(bag.messages(found, kinds=(EVENT_PACKET,)), None)
    except BagError as error:
        raise MediaError(str(error)) from error
    if first is None:
        raise MediaError("; ".join([f"{path}: no event packet can be read", *bag.problems]))
    encoding, height, width = first.message.encoding, int(first.message.height), int(first.message.width)
    PacketDecoder(encoding, height, width)  # Raises for an unknown encoding.

    def read() -> Iterator[Events]:
        decoder = PacketDecoder(encoding, height, width)
        for packet in Bag(path).messages(found, kinds=(EVENT_PACKET,)):
            yield decoder.decode(packet.message.events, packet.message.time_base)

    return EventRecording(bag.name, height, width, read)


_READERS: dict[str, Callable[[Path], EventRecording]] = {
    ".txt": _open_text,
    ".csv": _open_text,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".aedat4": _open_aedat4,
}
