"""Camera topics of bags as clips for training, decoded once and cached on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.bags.bag import Bag, BagError
from stvae_ros.data.sequences import Size, in_channels
from stvae_ros.files import replaced

_FORMAT = 1
"""Version of the cached files; a new version ignores older files."""
_ENDS = 1 << 16
"""Number of bytes at the start and at the end of a file that identify it."""
_MISSING = 2.5
"""Frames are missing between two frames that are further apart than this, in median periods."""


@dataclass(frozen=True)
class BagClip:
    """The frames of a camera topic.

    Attributes:
        frames: (N, H, W, C) uint8, RGB or grey, mapped from disk.
        stamps: stamps of the frames in nanoseconds, (N,) int64.
        start: time of the first message of the bag in nanoseconds.
        end: time of the last message of the bag in nanoseconds.
        problems: what could not be read, one sentence each.
    """

    frames: NDArray[np.uint8]
    stamps: NDArray[np.int64]
    start: int
    end: int
    problems: Sequence[str]

    def runs(self, start: float, end: float, least: int) -> list[NDArray[np.uint8]]:
        """Finds runs of frames without a missing frame.

        Args:
            start: first share of the bag's time, in [0, 1].
            end: last share of the bag's time, in [0, 1].
            least: smallest number of frames of a run.

        Returns:
            The frames of each run.
        """
        if len(self.stamps) < 2:
            return []
        steps = np.diff(self.stamps)
        share = (self.stamps - self.start) / max(self.end - self.start, 1)
        inside = (share >= start) & (share <= end)
        period = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
        broken = (steps <= 0) | (steps > _MISSING * period) | ~inside[1:] | ~inside[:-1]
        edges = [0, *(np.flatnonzero(broken) + 1).tolist(), len(self.stamps)]
        return [self.frames[a:b] for a, b in pairwise(edges) if b - a >= least and inside[a]]


def bag_identity(bag: Bag) -> str:
    """Hash of names, sizes, modification times and ends of a bag's files; it does not depend on their folder."""
    digest = hashlib.sha256()
    for path in bag.files:
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_ENDS))
            file.seek(max(status.st_size - _ENDS, 0))
            digest.update(file.read(_ENDS))
    return digest.hexdigest()[:24]


def load_bag_clip(
    path: str | Path,
    topic: str,
    cover: Size,
    max_width: int,
    channels: int,
    cache: Path,
    progress: Callable[[float], None] = lambda share: None,
    significant_bits: int = 16,
) -> BagClip:
    """Loads the frames of a camera topic, from the cache if they are there.

    Args:
        path: the bag.
        topic: topic of the camera.
        cover: height and width in pixels. Frames that are smaller are scaled up until they cover it.
        max_width: width in pixels to which wider frames are scaled down.
        channels: 1 for grey, 3 for RGB.
        cache: folder of decoded frames.
        progress: called with the decoded share of the bag, in [0, 1].
        significant_bits: number of bits that 16-bit images use, see `BitDepth`.

    Returns:
        The clip.

    Raises:
        BagError: the bag or the topic cannot be read, or no frame can be decoded.
    """
    bag = Bag(path, significant_bits)
    asked = f"{_FORMAT} {bag_identity(bag)} {topic} {cover} {max_width} {channels} {significant_bits}"
    folder = cache / hashlib.sha256(asked.encode()).hexdigest()[:24]
    if not (folder / "about.json").is_file():
        _decode(bag, topic, (cover, max_width, channels), folder, progress)
    about = json.loads((folder / "about.json").read_text())
    frames = np.memmap(folder / "frames.u8", np.uint8, "r", shape=tuple(about["shape"]))
    return BagClip(frames, np.load(folder / "stamps.npy"), bag.start, bag.end, about["problems"])


def _decode(bag: Bag, topic: str, form: tuple[Size, int, int], folder: Path, progress: Callable[[float], None]) -> None:
    """Writes frames, stamps and, last, the description; another process may write the same files at the same time."""
    stamps: list[int] = []
    shape: tuple[int, ...] | None = None
    with replaced(folder / "frames.u8") as frames:
        with frames.open("wb") as file:
            for frame in bag.images(topic):
                image = _scaled(frame.image, *form)
                shape = shape or image.shape
                if image.shape != shape:
                    bag.report(topic, f"frames of another size than the first, {shape[1]}x{shape[0]}, are left out")
                    continue
                file.write(np.ascontiguousarray(image).data)
                stamps.append(frame.stamp)
                progress((frame.time - bag.start) / max(bag.end - bag.start, 1))
        if shape is None:
            raise BagError("; ".join([*bag.problems, f"{bag.path}: topic {topic}: no frame can be decoded"]))
    back = int((np.diff(stamps) <= 0).sum())
    if back:
        bag.report(
            topic,
            f"{back} of {len(stamps)} frames have no later stamp than the frame before, and sequences end there: the "
            "camera driver must give each frame its own stamp, in order",
        )
    with replaced(folder / "stamps.npy") as path:
        np.save(path, np.array(stamps, np.int64))
    about = {"shape": [len(stamps), *shape], "bag": str(bag.path), "topic": topic, "problems": bag.problems}
    with replaced(folder / "about.json") as path:
        path.write_text(json.dumps(about, indent=1))


def _scaled(image: NDArray[np.uint8], cover: Size, max_width: int, channels: int) -> NDArray[np.uint8]:
    """Scales an image as `load_bag_clip` says, and converts it to grey or RGB."""
    height, width = image.shape[:2]
    scale = max(min(max_width / width, 1.0), cover[0] / height, cover[1] / width)
    if scale != 1.0:
        scaled = (max(round(width * scale), cover[1]), max(round(height * scale), cover[0]))
        smoothing = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, scaled, interpolation=smoothing).astype(np.uint8, copy=False)
    return in_channels(image, channels)
