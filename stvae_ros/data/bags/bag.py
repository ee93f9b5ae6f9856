"""Reading rosbag2 recordings, whole or damaged, without a ROS installation."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from stvae_ros.data.bags.storage import STORAGE_SUFFIXES, ZSTD, StorageError, Topic, open_storage
from stvae_ros.data.image_messages import ImageError, compressed_to_array, image_to_array
from stvae_ros.data.image_sizes import check_size

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
EVENT_PACKET = "event_camera_msgs/msg/EventPacket"
EVENT_PACKET_DEFINITION = """std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
"""
_END = 2**63 - 1
_MOST_PIXELS = 40_000_000
"""Of an image, as the default of the node; a few damaged bytes of a header could ask for all memory."""


class BagError(ValueError):
    """A bag, or a topic of it, that cannot be read; the message names file, topic and reason."""


class Message(NamedTuple):
    """A message of a bag.

    time: when it was recorded, stamp: that of its header, or ``time`` if that is 0, both in nanoseconds. message: with
    the fields of its ROS type, arrays of numbers as NumPy arrays.
    """

    topic: str
    kind: str
    time: int
    stamp: int
    frame_id: str
    message: Any


class BagImage(NamedTuple):
    """A camera image of a bag, (H, W) grey or (H, W, 3) BGR uint8; times in nanoseconds, see `Message`."""

    image: NDArray[np.uint8]
    stamp: int
    time: int
    frame_id: str


class Bag:
    """One recording: a folder, or a single .mcap or .db3 file.

    topics: by name. start, end: times of the first and the last message in nanoseconds. problems: what cannot be read,
    one sentence each with file, topic and reason; reading adds to it. Raises BagError where nothing can be read.
    """

    def __init__(self, path: str | Path) -> None:
        require_bag_packages()
        self.path = Path(path)
        self.problems: list[str] = []
        self.topics: dict[str, Topic] = {}
        spans = []
        self._files, described = self._find()
        for file in self._files:
            # The description of a bag that is compressed as a whole saves decompressing it to look into it.
            if described is not None and file.suffix == ".zstd":
                continue
            try:
                with open_storage(file) as storage:
                    self.topics |= storage.topics
                    if storage.span is not None:
                        spans.append(storage.span)
            except Exception as error:  # Each reader of a damaged file has its own kinds.
                self._problem(file, error)
        if described is not None:
            self.topics |= described.topics
            if not spans and described.span is not None:
                spans.append(described.span)
        if not self.topics:
            raise BagError("; ".join(self.problems) or f"{self.path}: the bag is empty")
        self.start, self.end = min((s for s, _ in spans), default=0), max((e for _, e in spans), default=0)

    @property
    def name(self) -> str:
        """Of folder or file, without suffixes."""
        name = self.path.resolve().name
        return next((name.removesuffix(s) for s in reversed(STORAGE_SUFFIXES) if name.endswith(s)), name)

    @property
    def files(self) -> Sequence[Path]:
        """The files of messages, in order."""
        return tuple(self._files)

    def cameras(self) -> list[str]:
        """Topics of images that can be cameras: no ground truth, no outputs of the node. A raw topic hides its JPEG."""
        names = [
            name
            for name, topic in self.topics.items()
            if topic.kind in (IMAGE, COMPRESSED) and not _NO_CAMERA.search(name)
        ]
        return sorted(name for name in names if name.removesuffix("/compressed") not in set(names) - {name})

    def messages(
        self,
        topics: Collection[str],
        start: int | None = None,
        stop: int | None = None,
        kinds: tuple[str, ...] = (IMAGE, COMPRESSED),
    ) -> Iterator[Message]:
        """Messages of these topics with start <= time < stop, in the order of time.

        What cannot be read is left out and added to `problems`, of each topic once a reason. Raises BagError for a
        topic that is not there or has messages other than of ``kinds``: images, or `EVENT_PACKET`.
        """
        for name in topics:
            self._check(name, kinds)
        for file in self._files:
            try:
                with open_storage(file) as storage:
                    present = [name for name in topics if name in storage.topics]
                    for raw in storage.messages(present, start or 0, _END if stop is None else stop):
                        message = self._decoded(file, raw.topic, raw.time, raw.data)
                        if message is not None:
                            yield message
            except Exception as error:  # As above.
                self._problem(file, error, topics)

    def images(self, topic: str, start: int | None = None, stop: int | None = None) -> Iterator[BagImage]:
        """The frames of a camera; as `messages`. A frame that cannot be decoded is left out."""
        for message in self.messages([topic], start, stop):
            image = self.decode(message)
            if image is not None:
                yield BagImage(image, message.stamp, message.time, message.frame_id)

    def decode(self, message: Message) -> NDArray[np.uint8] | None:
        """The image, None, and a word in `problems`, if it cannot be decoded."""
        try:
            check_size(message.message, _MOST_PIXELS)
            if message.kind == COMPRESSED:
                return compressed_to_array(message.message)
            return image_to_array(message.message)
        except ImageError as error:
            self.report(message.topic, str(error))
            return None

    def report(self, topic: str, reason: str) -> None:
        """Add a sentence to `problems`, once."""
        sentence = f"{self.path}: topic {topic}: {reason}"
        if sentence not in self.problems:
            self.problems.append(sentence)

    def _check(self, name: str, kinds: tuple[str, ...]) -> None:
        topic = self.topics.get(name)
        if topic is None:
            images = [known for known, other in self.topics.items() if other.kind in (IMAGE, COMPRESSED)]
            raise BagError(
                f"{self.path}: topic {name} is not in the bag; image topics are: {', '.join(images) or 'none'}"
            )
        if topic.kind not in kinds:
            raise BagError(
                f"{self.path}: topic {name}: messages of type {topic.kind or 'unknown'} are no images; "
                f"expected {IMAGE} or {COMPRESSED}"
            )
        if topic.serialization != "cdr":
            raise BagError(f"{self.path}: topic {name}: messages are stored as {topic.serialization!r}, not as cdr")

    def _decoded(self, file: Path, name: str, time: int, data: bytes) -> Message | None:
        kind = self.topics[name].kind
        try:
            message: Any = _types().deserialize_cdr(_plain(data), kind)
            stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
            return Message(name, kind, time, stamp or time, message.header.frame_id, message)
        except Exception as error:  # A damaged message makes NumPy, struct or rosbags fail, each in its way.
            self.report(name, f"a message in {file.name} cannot be read: {type(error).__name__}: {error}")
            return None

    def _problem(self, file: Path, error: Exception, topics: Collection[str] = ()) -> None:
        reason = str(error) if str(error) else type(error).__name__
        named = f" topic {', '.join(topics)}:" if topics else ""
        kept = "; everything before is used" if topics else ""
        sentence = f"{file}:{named} {reason}{kept}"
        if sentence not in self.problems:
            self.problems.append(sentence)

    def _find(self) -> tuple[list[Path], _Described | None]:
        if self.path.is_file():
            return [self.path], None
        if not self.path.is_dir():
            raise BagError(f"{self.path}: no such bag")
        present = sorted((p for p in self.path.iterdir() if p.name.endswith(STORAGE_SUFFIXES)), key=_by_number)
        described = self._metadata()
        if described is not None:
            listed = [self.path / name for name in described.files]
            for file in listed:
                if not file.is_file():
                    self._problem(file, StorageError("metadata.yaml names this file, but it is not there"))
            present = [file for file in listed if file.is_file()] or present
        if not present:
            nothing = f"{self.path}: no bag: there is no file ending in {', '.join(STORAGE_SUFFIXES)}"
            raise BagError("; ".join([*self.problems, nothing]))
        return present, described

    def _metadata(self) -> _Described | None:
        path = self.path / "metadata.yaml"
        try:
            return _describe(path) if path.is_file() else None
        except Exception as error:  # Whatever the file holds instead of what it should.
            self._problem(path, StorageError(f"cannot be understood ({type(error).__name__}); it is not used"))
            return None


_NO_CAMERA = re.compile(
    r"/ground_truth/|/perception/|/segmentation$|/labels(_color)?$|/flow(_color)?$|/surprise$|/compressedDepth$|/depth/"
)


class _Described(NamedTuple):
    files: list[str]
    topics: dict[str, Topic]
    span: tuple[int, int] | None


def _describe(metadata: Path) -> _Described:
    """What metadata.yaml of any version says."""
    bag = yaml.safe_load(metadata.read_text())["rosbag2_bagfile_information"]
    topics = [entry["topic_metadata"] for entry in bag["topics_with_message_count"]]
    start, duration = bag["starting_time"]["nanoseconds_since_epoch"], bag["duration"]["nanoseconds"]
    return _Described(
        [Path(name).name for name in bag["relative_file_paths"]],
        {t["name"]: Topic(t["name"], t["type"], t["serialization_format"]) for t in topics},
        (start, start + duration) if bag["message_count"] else None,
    )


def _by_number(path: Path) -> list[tuple[int, str]]:
    """bag_2 comes before bag_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _plain(data: bytes) -> bytes:
    """A message, perhaps compressed by itself. One in CDR never begins like one in zstd."""
    if data[:4] != ZSTD:
        return data
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


@cache
def _types() -> Any:
    """The image types have been the same in every ROS 2; so definitions in the bag are not needed."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    types = get_typestore(Stores.ROS2_HUMBLE)
    types.register(get_types_from_msg(EVENT_PACKET_DEFINITION, EVENT_PACKET))
    return types


def require_bag_packages() -> None:
    """Raises BagError that says how to install what reads and writes bags."""
    from importlib.util import find_spec

    missing = [name for name in ("rosbags", "mcap", "zstandard") if find_spec(name) is None]
    if missing:
        raise BagError(f"bags need {', '.join(missing)}: pip install rosbags mcap zstandard, or '.[bags]' here")
