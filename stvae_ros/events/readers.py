"""Recordings of event cameras: text, HDF5 of DSEC and MVSEC, AEDAT 4, and rosbags of event_camera_msgs/EventPacket."""

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
"""Events read at once."""


@dataclass(frozen=True)
class EventRecording:
    """A recording. size: width and height of the sensor in pixels. read: all events anew, in order, chunk by chunk."""

    name: str
    size: tuple[int, int]
    read: Callable[[], Iterator[Events]]


def open_events(path: str | Path, topic: str | None = None) -> EventRecording:
    """Open a recording of an event camera; events are read when asked for, a chunk at a time.

    - `.txt`, `.csv`: a line `t x y p` an event, t in seconds, or whole microseconds; p is 1 (ON), and 0 or -1 (OFF). A
      first line of two numbers is width and height; without it they are those of the pixels that fire.
    - `.h5`, `.hdf5`: of DSEC (`events/t`, ...) or of MVSEC (`davis/left/events`), through h5py.
    - `.aedat4`: through the PyPI package `aedat`.
    - a rosbag2 (see `Bag`) of event_camera_msgs/EventPacket on ``topic``, or on its only such topic. Stamps are of the
      sensor, not of the bag.

    Raises MediaError for what cannot be read, and where a package is missing.
    """
    path = Path(path)
    if not path.exists():
        raise MediaError(f"{path}: no such recording")
    suffix = path.suffix.lower()
    if path.is_dir() or path.name.endswith(STORAGE_SUFFIXES):
        return _bag(path, topic)
    for suffixes, reader in (((".txt", ".csv"), _text), ((".h5", ".hdf5"), _hdf5), ((".aedat4",), _aedat4)):
        if suffix in suffixes:
            return reader(path)
    raise MediaError(f"{path}: not a recording of events; give .txt, .csv, .h5, .hdf5, .aedat4, .mcap, .db3 or a bag")


def is_event_file(path: str | Path) -> bool:
    """Whether `open_events` is what reads it, by its name alone; a bag may also hold images."""
    return Path(path).suffix.lower() in (".txt", ".csv", ".h5", ".hdf5", ".aedat4")


def _package(name: str, path: Path) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise MediaError(f"{path}: reading it needs the package {package}: pip install {package}") from error


def _text(path: Path) -> EventRecording:
    with path.open() as file:
        first = file.readline().replace(",", " ").split()
    header = len(first) == 2

    def read() -> Iterator[Events]:
        with path.open() as file:
            line = int(header)
            for _ in range(line):
                file.readline()
            while lines := list(islice(file, _CHUNK)):
                # Whole microseconds and seconds alike: a float holds nanoseconds of a hundred days.
                try:
                    fields = [text.replace(",", " ").split() for text in lines if text.strip()]
                    t, x, y, p = np.array(fields, np.float64).reshape(len(fields), 4).T
                except ValueError as error:
                    raise MediaError(f"{path}: lines {line + 1} on are not 't x y p' each: {error}") from error
                scale = 1e9 if "." in lines[0].split()[0] else 1e3
                yield Events.of(np.round(t * scale), x, y, p > 0)
                line += len(lines)

    if header:
        return EventRecording(path.stem, (int(first[0]), int(first[1])), read)
    extents = [(int(part.x.max()) + 1, int(part.y.max()) + 1) for part in read() if len(part)]
    if not extents:
        raise MediaError(f"{path}: no events in it")
    return EventRecording(path.stem, (max(w for w, _ in extents), max(h for _, h in extents)), read)


def _hdf5(path: Path) -> EventRecording:
    h5py = _package("h5py", path)

    def chunks() -> Iterator[Events]:
        try:
            with h5py.File(path) as file:
                yield from _dsec(file) if "events/t" in file else _mvsec(file["davis/left/events"])
        except OSError as error:
            raise MediaError(f"{path}: {error}; DSEC's compression needs the package hdf5plugin") from error

    with suppress(ImportError):
        import_module("hdf5plugin")  # It registers the compression that DSEC uses.
    try:
        with h5py.File(path) as file:
            names = [name for name in ("events/t", "davis/left/events") if name in file]
    except OSError as error:
        raise MediaError(f"{path}: not a readable HDF5 file ({error})") from error
    if not names:
        raise MediaError(f"{path}: neither events/t, as in DSEC, nor davis/left/events, as in MVSEC, is in it")
    return EventRecording(path.stem, (640, 480) if names[0] == "events/t" else (346, 260), chunks)


def _dsec(file: Any) -> Iterator[Events]:
    """Microseconds from an offset of the file."""
    offset = int(file["t_offset"][()]) if "t_offset" in file else 0
    group = file["events"]
    for start in range(0, len(group["t"]), _CHUNK):
        t, x, y, p = (group[name][start : start + _CHUNK] for name in "txyp")
        yield Events.of((t.astype(np.int64) + offset) * 1000, x, y, p > 0)


def _mvsec(rows: Any) -> Iterator[Events]:
    """Rows of x, y, seconds and polarity."""
    for start in range(0, len(rows), _CHUNK):
        x, y, t, p = np.asarray(rows[start : start + _CHUNK], np.float64).T
        yield Events.of(np.round(t * 1e9), x, y, p > 0)


def _aedat4(path: Path) -> EventRecording:
    aedat = _package("aedat", path)
    try:
        streams = aedat.Decoder(str(path)).id_to_stream()
    except Exception as error:  # The package raises its own kinds, RuntimeError among them.
        raise MediaError(f"{path}: not a readable AEDAT 4 file ({error})") from error
    found = [stream for stream in streams.values() if stream["type"] == "events"]
    if not found:
        raise MediaError(f"{path}: no stream of events in it")

    def read() -> Iterator[Events]:
        for packet in aedat.Decoder(str(path)):
            if "events" in packet:
                events = packet["events"]
                yield Events.of(events["t"].astype(np.int64) * 1000, events["x"], events["y"], events["on"])

    return EventRecording(path.stem, (found[0]["width"], found[0]["height"]), read)


def _bag(path: Path, topic: str | None) -> EventRecording:
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
    size = (int(first.message.width), int(first.message.height))
    PacketDecoder(first.message.encoding, size)

    def read() -> Iterator[Events]:
        decoder = PacketDecoder(first.message.encoding, size)
        for packet in Bag(path).messages(found, kinds=(EVENT_PACKET,)):
            yield decoder.decode(packet.message.events, packet.message.time_base)

    return EventRecording(bag.name, size, read)
