"""The files of a rosbag2: SQLite or MCAP, perhaps compressed as a whole, as messages in the order of their log times.

What the reader of a file raises, of whatever kind, means that the file is damaged there; `data.bags.bag` says so.
Truncated files, and files that were never closed, give what is in them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol

_SQLITE, _MCAP, ZSTD = b"SQLite format 3\0", b"\x89MCAP0\r\n", b"\x28\xb5\x2f\xfd"
STORAGE_SUFFIXES = (".db3", ".mcap", ".db3.zstd", ".mcap.zstd")
_BLOCK = 1 << 20


class StorageError(ValueError):
    """A file that is damaged or is no storage of a bag; the message is the reason, without the name of the file."""


class Topic(NamedTuple):
    """A topic of a bag. kind: of its messages, "package/msg/Name". serialization: "cdr" in any ROS 2 so far."""

    name: str
    kind: str
    serialization: str


class RawMessage(NamedTuple):
    """A message as it is stored. time: when it was recorded, in nanoseconds."""

    topic: str
    time: int
    data: bytes


class Storage(Protocol):
    """An open file. span: first and last time in nanoseconds, None without messages."""

    topics: dict[str, Topic]
    span: tuple[int, int] | None

    def messages(self, topics: Collection[str], start: int, stop: int) -> Iterator[RawMessage]:
        """Those with start <= time < stop. Raises StorageError, or anything else, where the file is damaged."""
        ...


@contextmanager
def open_storage(path: Path) -> Iterator[Storage]:
    """Open a file of a bag; its first bytes say what it is. Raises StorageError, OSError and what readers raise."""
    with path.open("rb") as file:
        magic = file.read(16)
    if not magic:
        raise StorageError("the file is empty")
    if magic.startswith(ZSTD):
        with TemporaryDirectory() as folder:
            plain = Path(folder, path.name.removesuffix(".zstd"))
            _decompress(path, plain)
            with open_storage(plain) as storage:
                yield storage
    elif magic == _SQLITE:
        database = _SqliteFile(path)
        try:
            yield database
        finally:
            database.close()
    elif magic.startswith(_MCAP):
        with path.open("rb") as file:
            yield _McapFile(file)
    elif magic.startswith(b"#ROSBAG"):
        raise StorageError("it is a bag of ROS 1: convert it with rosbags-convert")
    else:
        raise StorageError("it is neither SQLite nor MCAP, nor compressed by zstd")


def _decompress(path: Path, plain: Path) -> None:
    """Write what can be decompressed; of a truncated file, that is its beginning."""
    import zstandard

    with zstandard.open(path, "rb") as source, plain.open("wb") as target:
        while block := source.read(_BLOCK):
            target.write(block)


def _with_msg(kind: str) -> str:
    """Bags of 2019 leave out the middle of "sensor_msgs/msg/Image"."""
    parts = kind.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else kind


class _SqliteFile:
    """A .db3 file."""

    def __init__(self, path: Path) -> None:
        # What a recorder that was killed had not yet moved into the file is in a log beside it.
        log = path.with_name(f"{path.name}-wal")
        mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        self._database = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
        # With this SQLite reads the pages that a truncated file has, instead of none.
        self._database.execute("PRAGMA writable_schema = ON")
        (pages,), (size,) = (self._one(f"PRAGMA {name}") for name in ("page_count", "page_size"))
        with path.open("rb") as file:
            file.seek(28)
            declared = int.from_bytes(file.read(4), "big")
        self._truncated = declared > path.stat().st_size // size or pages == 0
        rows = self._database.execute("SELECT id, name, type, serialization_format FROM topics").fetchall()
        self._names = {number: name for number, name, *_ in rows}
        self.topics = {name: Topic(name, _with_msg(kind), form) for _, name, kind, form in rows}
        index = "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND tbl_name = 'messages'"
        # Of a truncated file the index is not whole, and without an index SQLite would sort in memory.
        by_time = not self._truncated and self._one(index)[0]
        self._source, self._order = ("messages", "timestamp, id") if by_time else ("messages NOT INDEXED", "id")
        self.span = self._span()

    def close(self) -> None:
        self._database.close()

    def messages(self, topics: Collection[str], start: int, stop: int) -> Iterator[RawMessage]:
        numbers = [number for number, name in self._names.items() if name in topics]
        marks = ", ".join("?" * len(numbers))
        found = self._database.execute(
            f"SELECT topic_id, timestamp, data FROM {self._source} WHERE topic_id IN ({marks})"
            f" AND timestamp >= ? AND timestamp < ? ORDER BY {self._order}",
            (*numbers, start, stop),
        )
        for number, time, data in found:
            yield RawMessage(self._names[number], time, data)
        if self._truncated:
            raise StorageError("the file is cut off")

    def _span(self) -> tuple[int, int] | None:
        if not self._truncated:
            first, last = self._one("SELECT min(timestamp), max(timestamp) FROM messages")
            return None if first is None else (first, last)
        times: list[int] = []
        try:
            for (time,) in self._database.execute("SELECT timestamp FROM messages ORDER BY id"):
                times = [min(time, *times[:1]), max(time, *times[1:])] if times else [time, time]
        except sqlite3.DatabaseError:
            pass  # Here it is cut off.
        return (times[0], times[1]) if times else None

    def _one(self, query: str) -> tuple[Any, ...]:
        return tuple(self._database.execute(query).fetchone())


class _McapFile:
    """An .mcap file. With an index messages come in the order of their times, else in that of the file."""

    def __init__(self, file: Any) -> None:
        from mcap.reader import make_reader

        self._file = file
        self.topics: dict[str, Topic] = {}
        self.span: tuple[int, int] | None = None
        try:
            summary = make_reader(file).get_summary()
        except Exception:  # Without its end the file has no summary, and mcap says so in many ways.
            summary = None
        self._indexed = summary is not None and bool(summary.chunk_indexes)
        if summary is not None and summary.statistics is not None and summary.channels:
            for channel in summary.channels.values():
                self._add(channel, summary.schemas)
            if summary.statistics.message_count:
                self.span = summary.statistics.message_start_time, summary.statistics.message_end_time
        else:
            self._scan()

    def messages(self, topics: Collection[str], start: int, stop: int) -> Iterator[RawMessage]:
        from mcap.reader import make_reader

        if self._indexed:
            self._file.seek(0)
            for _, channel, message in make_reader(self._file).iter_messages(list(topics), start, stop):
                yield RawMessage(channel.topic, message.log_time, message.data)
            return
        for topic, message in self._in_order_of_the_file():
            if topic in topics and start <= message.log_time < stop:
                yield RawMessage(topic, message.log_time, message.data)

    def _scan(self) -> None:
        try:
            for _, message in self._in_order_of_the_file():
                first, last = self.span or (message.log_time, message.log_time)
                self.span = min(first, message.log_time), max(last, message.log_time)
        except StorageError:
            pass  # Reading the messages says so again.

    def _in_order_of_the_file(self) -> Iterator[tuple[str, Any]]:
        """(topic, message); topics are added as they come."""
        from mcap.exceptions import EndOfFile
        from mcap.records import Channel, Message, Schema
        from mcap.stream_reader import StreamReader

        schemas: dict[int, Any] = {}
        names: dict[int, str] = {}
        self._file.seek(0)
        try:
            for record in StreamReader(self._file, validate_crcs=True).records:
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    names[record.id] = record.topic
                    self._add(record, schemas)
                elif isinstance(record, Message):
                    yield names[record.channel_id], record
        except EndOfFile as error:
            raise StorageError("the file is cut off, or was never closed") from error
        except Exception as error:  # mcap, zstandard, lz4 and struct each have their own kinds.
            raise StorageError(f"the file is damaged: {error}") from error

    def _add(self, channel: Any, schemas: dict[int, Any]) -> None:
        schema = schemas.get(channel.schema_id)
        kind = "" if schema is None else _with_msg(schema.name)
        self.topics[channel.topic] = Topic(channel.topic, kind, channel.message_encoding)
