"""Files of a rosbag2 (SQLite or MCAP, plain or compressed as a whole) as raw messages.

rosbags and mcap read complete files only. This module also reads truncated files and files that were never closed, up
to the damage. Any exception while reading means that the file is damaged; `stvae_ros.data.bags.bag` reports it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from stvae_ros.files import LFS_POINTER

_SQLITE, _MCAP, ZSTD = b"SQLite format 3\0", b"\x89MCAP0\r\n", b"\x28\xb5\x2f\xfd"
STORAGE_SUFFIXES = (".db3", ".mcap", ".db3.zstd", ".mcap.zstd")
_BLOCK = 1 << 20


class StorageError(ValueError):
    """A file is damaged or is no storage of a bag. The message is the reason, without the name of the file."""


class Topic(NamedTuple):
    """A topic of a bag.

    Attributes:
        name: name of the topic.
        kind: ROS type, "package/msg/Name".
        serialization: format of the messages, "cdr" in ROS 2.
    """

    name: str
    kind: str
    serialization: str


class RawMessage(NamedTuple):
    """A serialized message; ``time`` is the time of recording in nanoseconds."""

    topic: str
    time: int
    data: bytes


@contextmanager
def open_storage(path: Path) -> Iterator[_SqliteFile | _McapFile]:
    """Opens a file of a bag; the first bytes tell its format.

    Args:
        path: the file.

    Yields:
        The open file. ``topics`` has the topics by name, and ``span`` the first and last time in nanoseconds, or None
        without messages. ``messages(topics, start, stop)`` reads with start <= time < stop, in nanoseconds.

    Raises:
        StorageError: the file is empty or has another format.
        Exception: the file is damaged; the type depends on the format.
    """
    with path.open("rb") as file:
        magic = file.read(len(LFS_POINTER))
        if not magic:
            raise StorageError("the file is empty")
        if magic.startswith(ZSTD):
            with TemporaryDirectory() as folder:
                plain = Path(folder, path.name.removesuffix(".zstd"))
                _decompress(path, plain)
                with open_storage(plain) as storage:
                    yield storage
        elif magic.startswith(_SQLITE):
            with closing(_SqliteFile(path)) as database:
                yield database
        elif magic.startswith(_MCAP):
            yield _McapFile(file)
        elif magic.startswith(b"#ROSBAG"):
            raise StorageError("it is a bag of ROS 1: convert it with rosbags-convert")
        elif magic == LFS_POINTER:
            raise StorageError("it is a pointer of Git LFS, not the recording: run `git lfs pull`")
        else:
            raise StorageError("it is neither SQLite nor MCAP, nor compressed by zstd")


def _decompress(path: Path, plain: Path) -> None:
    """Decompresses a file; of a truncated file, its beginning."""
    import zstandard

    with zstandard.open(path, "rb") as source, plain.open("wb") as target:
        while block := source.read(_BLOCK):
            target.write(block)


def _full_type(kind: str) -> str:
    """Adds the "msg" of "sensor_msgs/msg/Image", which bags of 2019 leave out."""
    parts = kind.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else kind


class _SqliteFile:
    """A .db3 file."""

    def __init__(self, path: Path) -> None:
        # A recorder that was killed leaves its last messages in a write-ahead log beside the file.
        log = path.with_name(f"{path.name}-wal")
        mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        self._database = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
        # With this pragma SQLite reads the pages that a truncated file still has.
        self._database.execute("PRAGMA writable_schema = ON")
        (pages,), (page_size,) = (self._one(f"PRAGMA {name}") for name in ("page_count", "page_size"))
        with path.open("rb") as file:
            file.seek(28)
            declared_pages = int.from_bytes(file.read(4), "big")
        self._truncated = declared_pages > path.stat().st_size // page_size or pages == 0
        rows = self._database.execute("SELECT id, name, type, serialization_format FROM topics").fetchall()
        self._names = {number: name for number, name, *_ in rows}
        self.topics = {name: Topic(name, _full_type(kind), form) for _, name, kind, form in rows}
        index = "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND tbl_name = 'messages'"
        # A truncated file has no complete index, and without an index SQLite would sort in memory.
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
        with suppress(sqlite3.DatabaseError):  # Raised at the end of a truncated file.
            for (time,) in self._database.execute("SELECT timestamp FROM messages ORDER BY id"):
                times.append(time)
        return (min(times), max(times)) if times else None

    def _one(self, query: str) -> tuple[Any, ...]:
        return tuple(self._database.execute(query).fetchone())


class _McapFile:
    """An .mcap file. Messages come in the order of their times if the file has an index, else in that of the file."""

    def __init__(self, file: Any) -> None:
        from mcap.reader import make_reader

        self._file = file
        self.topics: dict[str, Topic] = {}
        self.span: tuple[int, int] | None = None
        self._schemas: dict[int, Any] = {}
        self._channels: dict[int, Any] = {}
        file.seek(0)
        try:
            summary = make_reader(file).get_summary()
        except Exception:  # A file without its end has no summary; mcap raises various types.
            summary = None
        self._indexed = summary is not None and bool(summary.chunk_indexes)
        if summary is not None:
            # A writer may leave schemas and channels out of the summary, or have them only there.
            self._schemas, self._channels = dict(summary.schemas), dict(summary.channels)
            for channel in self._channels.values():
                self._add_topic(channel)
        if summary is not None and summary.statistics is not None and self._is_complete(summary):
            if summary.statistics.message_count:
                self.span = summary.statistics.message_start_time, summary.statistics.message_end_time
            return
        with suppress(StorageError):  # `messages` raises it again.
            for _, message in self._unindexed():
                first, last = self.span or (message.log_time, message.log_time)
                self.span = min(first, message.log_time), max(last, message.log_time)

    def messages(self, topics: Collection[str], start: int, stop: int) -> Iterator[RawMessage]:
        from mcap.reader import make_reader

        if self._indexed:
            self._file.seek(0)
            reader = make_reader(self._file)
            summary = reader.get_summary()
            assert summary is not None
            summary.schemas.update(self._schemas)
            summary.channels.update(self._channels)
            for _, channel, message in reader.iter_messages(list(topics), start, stop):
                yield RawMessage(channel.topic, message.log_time, message.data)
            return
        for topic, message in self._unindexed():
            if topic in topics and start <= message.log_time < stop:
                yield RawMessage(topic, message.log_time, message.data)

    def _unindexed(self) -> Iterator[tuple[str, Any]]:
        """Reads topic and message in the order of the file; adds topics on the way."""
        from mcap.exceptions import EndOfFile
        from mcap.records import Channel, Message, Schema
        from mcap.stream_reader import StreamReader

        self._file.seek(0)
        try:
            for record in StreamReader(self._file, validate_crcs=True).records:
                if isinstance(record, Schema):
                    self._schemas[record.id] = record
                elif isinstance(record, Channel):
                    self._channels[record.id] = record
                    self._add_topic(record)
                elif isinstance(record, Message):
                    if record.channel_id not in self._channels:
                        raise StorageError(f"the file does not describe the channel {record.channel_id}")
                    yield self._channels[record.channel_id].topic, record
        except StorageError:
            raise
        except EndOfFile as error:
            raise StorageError("the file is cut off, or was never closed") from error
        except Exception as error:  # mcap, zstandard, lz4 and struct raise various types.
            raise StorageError(f"the file is damaged: {error}") from error

    def _is_complete(self, summary: Any) -> bool:
        """Whether the summary has the channel of every message, and the schema of every channel."""
        schemas = {channel.schema_id for channel in self._channels.values()} - {0}
        return (
            summary.statistics.channel_message_counts.keys() <= self._channels.keys()
            and schemas <= self._schemas.keys()
        )

    def _add_topic(self, channel: Any) -> None:
        schema = self._schemas.get(channel.schema_id)
        kind = "" if schema is None else _full_type(schema.name)
        self.topics[channel.topic] = Topic(channel.topic, kind, channel.message_encoding)
