"""Reader of rosbag2 recordings without ROS; damaged files give everything before the damage."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from stvae_ros.data.bags.cameras import refusal_of_message, refusal_of_name
from stvae_ros.data.bags.storage import STORAGE_SUFFIXES, ZSTD, Topic, open_storage
from stvae_ros.data.compressed_images import compressed_to_array
from stvae_ros.data.image_messages import BitDepth, ImageError, image_to_array
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
"""Largest number of pixels of an image, the default of the node; a damaged header could ask for all memory."""
_DAY = 86_400_000_000_000
"""In nanoseconds."""


class BagError(ValueError):
    """A bag, or a topic of it, cannot be read or written. The message names file, topic and reason."""


class Message(NamedTuple):
    """A message of a bag.

    Attributes:
        topic: name of the topic.
        kind: ROS type.
        time: time of recording in nanoseconds.
        stamp: stamp of the header in nanoseconds; ``time`` if that is 0.
        frame_id: frame id of the header.
        message: the message itself; its arrays of numbers are NumPy arrays.
    """

    topic: str
    kind: str
    time: int
    stamp: int
    frame_id: str
    message: Any


class BagImage(NamedTuple):
    """A camera image, (H, W) grey or (H, W, 3) BGR uint8; the times are those of `Message`."""

    image: NDArray[np.uint8]
    stamp: int
    time: int
    frame_id: str


class Bag:
    """One recording: a folder, or a single .mcap or .db3 file.

    Attributes:
        path: the recording.
        topics: topics by name.
        start: time of the first message in nanoseconds.
        end: time of the last message in nanoseconds.
        problems: what could not be read, one sentence each with file, topic and reason. Reading adds to it.
        no_cameras: image topics that `cameras` leaves out, and why.
    """

    def __init__(self, path: str | Path, significant_bits: int = 16) -> None:
        """Finds the files and topics.

        Args:
            path: a folder, or a single .mcap or .db3 file.
            significant_bits: number of bits that its 16-bit images use, see `BitDepth`.

        Raises:
            BagError: nothing can be read, or a package is missing.
        """
        require_bag_packages()
        self.path = Path(path)
        self.problems: list[str] = []
        self.no_cameras: dict[str, str] = {}
        self.topics: dict[str, Topic] = {}
        self.significant_bits = significant_bits
        self._depths: dict[str, BitDepth] = {}
        self._badly_scaled: set[str] = set()
        spans = []
        metadata = self._metadata()
        self._files = self._find(metadata)
        for file in self._files:
            if metadata is not None and file.suffix == ".zstd":
                continue  # The metadata saves the decompression of the whole file.
            try:
                with open_storage(file) as storage:
                    self.topics |= storage.topics
                    if storage.span is not None:
                        spans.append(storage.span)
            except Exception as error:  # Readers of damaged files raise various types.
                self._add_problem(f"{file}: {_reason(error)}")
        if metadata is not None:
            self.topics |= metadata.topics
            if not spans and metadata.span is not None:
                spans.append(metadata.span)
        if not self.topics:
            raise BagError("; ".join(self.problems) or f"{self.path}: the bag is empty")
        self.start, self.end = min((s for s, _ in spans), default=0), max((e for _, e in spans), default=0)
        if self.start == 0 and self.end > _DAY:
            self._skip_time_0()

    @property
    def name(self) -> str:
        """Name of the folder or file, without suffixes."""
        name = self.path.resolve().name
        return next((name.removesuffix(s) for s in reversed(STORAGE_SUFFIXES) if name.endswith(s)), name)

    @property
    def files(self) -> Sequence[Path]:
        """The files that hold messages, in order."""
        return tuple(self._files)

    def cameras(self) -> list[str]:
        """Image topics that show brightness, by the encoding of their first message.

        Left out are ground truth, labels, outputs of the node, depth, and JPEG copies of raw topics; see `no_cameras`.
        """
        images = {name for name, topic in self.topics.items() if topic.kind in (IMAGE, COMPRESSED)}
        self.no_cameras = {name: reason for name in images if (reason := refusal_of_name(name)) is not None}
        for name in images:
            if self.topics[name].serialization != "cdr":
                self.no_cameras[name] = f"its messages are stored as {self.topics[name].serialization!r}, not as cdr"
        unknown = images - self.no_cameras.keys()
        found = set()
        for message in self.messages(sorted(unknown)):
            if message.topic in unknown:
                unknown.remove(message.topic)
                reason = refusal_of_message(message.message, message.kind == COMPRESSED)
                if reason is None:
                    found.add(message.topic)
                else:
                    self.no_cameras[message.topic] = reason
            if not unknown:
                break
        self.no_cameras |= dict.fromkeys(unknown, "there is no message that can be read")
        for name in sorted(found):
            raw = name.removesuffix("/compressed")
            if raw != name and raw in found:
                self.no_cameras[name] = f"it is a copy of {raw}"
        return sorted(found - self.no_cameras.keys())

    def messages(
        self,
        topics: Collection[str],
        start: int | None = None,
        stop: int | None = None,
        kinds: tuple[str, ...] = (IMAGE, COMPRESSED),
    ) -> Iterator[Message]:
        """Reads messages in the order of their times.

        Args:
            topics: names of the topics.
            start: first time in nanoseconds; None starts at the beginning.
            stop: time in nanoseconds before which reading ends; None reads to the end.
            kinds: ROS types that the caller accepts.

        Yields:
            The messages. Messages that cannot be read are left out; `problems` names each topic and reason once.

        Raises:
            BagError: a topic is not in the bag, or has another type.
        """
        for name in topics:
            self._check_topic(name, kinds)
        for file in self._files:
            try:
                with open_storage(file) as storage:
                    present = [name for name in topics if name in storage.topics]
                    for raw in storage.messages(present, start or 0, _END if stop is None else stop):
                        message = self._deserialized(file, raw.topic, raw.time, raw.data)
                        if message is not None:
                            yield message
            except Exception as error:  # As above.
                named = f" topic {', '.join(topics)}:" if topics else ""
                self._add_problem(f"{file}:{named} {_reason(error)}; everything before is used")

    def images(self, topic: str, start: int | None = None, stop: int | None = None) -> Iterator[BagImage]:
        """Reads the frames of a camera like `messages`; frames that cannot be decoded are left out."""
        for message in self.messages([topic], start, stop):
            image = self.decode(message)
            if image is not None:
                yield BagImage(image, message.stamp, message.time, message.frame_id)

    def decode(self, message: Message) -> NDArray[np.uint8] | None:
        """Converts an image message, (H, W) grey or (H, W, 3) BGR; None and an entry in `problems` if it is damaged."""
        try:
            check_size(message.message, _MOST_PIXELS)
            depth = self._depths.setdefault(message.topic, BitDepth(self.significant_bits))
            if message.kind == COMPRESSED:
                image = compressed_to_array(message.message, depth, partial(self.report, message.topic))
            else:
                image = image_to_array(message.message, depth)
            if depth.problem is not None and message.topic not in self._badly_scaled:
                self._badly_scaled.add(message.topic)
                self.report(message.topic, depth.problem)
            return image
        except ImageError as error:
            self.report(message.topic, str(error))
            return None

    def report(self, topic: str, reason: str) -> None:
        """Adds a problem of a topic to `problems`, unless it is already there."""
        self._add_problem(f"{self.path}: topic {topic}: {reason}")

    def _add_problem(self, sentence: str) -> None:
        if sentence not in self.problems:
            self.problems.append(sentence)

    def _check_topic(self, name: str, kinds: tuple[str, ...]) -> None:
        topic = self.topics.get(name)
        if topic is None:
            images = [known for known, other in self.topics.items() if other.kind in (IMAGE, COMPRESSED)]
            raise BagError(
                f"{self.path}: topic {name} is not in the bag; image topics are: {', '.join(images) or 'none'}"
            )
        if topic.kind not in kinds:
            if not topic.kind:
                raise BagError(
                    f"{self.path}: topic {name}: the file has no schema for it, so the type of its messages is "
                    "not known; record it again with ros2 bag, or add metadata.yaml, which has the types"
                )
            raise BagError(
                f"{self.path}: topic {name}: messages of type {topic.kind} are no images; "
                f"expected {IMAGE} or {COMPRESSED}"
            )
        if topic.serialization != "cdr":
            raise BagError(f"{self.path}: topic {name}: messages are stored as {topic.serialization!r}, not as cdr")

    def _deserialized(self, file: Path, name: str, time: int, data: bytes) -> Message | None:
        kind = self.topics[name].kind
        try:
            message: Any = _types().deserialize_cdr(_decompressed(data), kind)
            stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
            return Message(name, kind, time, stamp or time, message.header.frame_id, message)
        except Exception as error:  # For a damaged message, NumPy, struct and rosbags raise various types.
            self.report(name, f"a message in {file.name} cannot be read: {type(error).__name__}: {error}")
            return None

    def _find(self, metadata: _Metadata | None) -> list[Path]:
        """The files of the bag: those of metadata.yaml that exist, else those of the folder."""
        if self.path.is_file():
            return [self.path]
        if not self.path.is_dir():
            raise BagError(f"{self.path}: no such bag")
        listed = [] if metadata is None else [self.path / name for name in metadata.files]
        for file in listed:
            if not file.is_file():
                self._add_problem(f"{file}: metadata.yaml names this file, but it is missing")
        present = [file for file in listed if file.is_file()]
        present = present or sorted(
            (p for p in self.path.iterdir() if p.name.endswith(STORAGE_SUFFIXES)), key=_by_number
        )
        if not present:
            nothing = f"{self.path}: no bag: {self._instead()}"
            raise BagError("; ".join([*self.problems, nothing]))
        return present

    def _instead(self) -> str:
        """What a folder without files of a bag has instead."""
        inside = sorted(self.path.iterdir())
        ros1 = [path.name for path in inside if path.suffix == ".bag"]
        if ros1:
            return f"{ros1[0]} is of ROS 1: convert it with `rosbags-convert --src {ros1[0]} --dst <folder>`"
        bags = [
            path.name
            for path in inside
            if path.is_dir() and any(file.name.endswith(STORAGE_SUFFIXES) for file in path.iterdir())
        ]
        if bags:
            return f"it is a folder of bags; give one or more of them: {', '.join(bags)}"
        return f"there is no file ending in {', '.join(STORAGE_SUFFIXES)}"

    def _skip_time_0(self) -> None:
        """Let the bag start after messages that have the time 0, because they were recorded before the clock ran."""
        times = []
        for file in self._files:
            with suppress(Exception), open_storage(file) as storage:  # Damage is reported when the file is read.
                times += [raw.time for raw in islice(storage.messages(list(storage.topics), 1, _END), 1)]
        if times:
            self.start = min(times)
            self._add_problem(
                f"{self.path}: the first messages have the time 0 and are left out of the bag's time: they were "
                "recorded before the clock ran"
            )

    def _metadata(self) -> _Metadata | None:
        path = self.path / "metadata.yaml"
        try:
            return _read_metadata(path) if path.is_file() else None
        except Exception as error:  # The file can hold anything.
            self._add_problem(f"{path}: cannot be understood ({type(error).__name__}); it is not used")
            return None


class _Metadata(NamedTuple):
    files: list[str]
    topics: dict[str, Topic]
    span: tuple[int, int] | None


def _read_metadata(path: Path) -> _Metadata:
    """Reads metadata.yaml of any version."""
    bag = yaml.safe_load(path.read_text())["rosbag2_bagfile_information"]
    topics = [entry["topic_metadata"] for entry in bag["topics_with_message_count"]]
    start, duration = bag["starting_time"]["nanoseconds_since_epoch"], bag["duration"]["nanoseconds"]
    return _Metadata(
        [Path(name).name for name in bag["relative_file_paths"]],
        {t["name"]: Topic(t["name"], t["type"], t["serialization_format"]) for t in topics},
        (start, start + duration) if bag["message_count"] else None,
    )


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts bag_2 before bag_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _decompressed(data: bytes) -> bytes:
    """Decompresses a message that is compressed by itself. A message in CDR never begins like one in zstd."""
    if data[:4] != ZSTD:
        return data
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


@cache
def _types() -> Any:
    """Definitions of the message types; the image types are the same in all ROS 2 distributions."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    types = get_typestore(Stores.ROS2_HUMBLE)
    types.register(get_types_from_msg(EVENT_PACKET_DEFINITION, EVENT_PACKET))
    return types


def require_bag_packages() -> None:
    """Checks that the packages for bags are installed.

    Raises:
        BagError: a package is missing; the message says how to install it.
    """
    from importlib.util import find_spec

    missing = [name for name in ("rosbags", "mcap", "zstandard") if find_spec(name) is None]
    if missing:
        raise BagError(f"bags need {', '.join(missing)}: pip install rosbags mcap zstandard, or '.[bags]' here")
