"""Camera topics of bags as clips for training: decoded once, kept on disk, mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.bags.bag import Bag, BagError
from stvae_ros.data.sequences import Size, in_channels

_FORMAT = 1
"""Counts changes of what is kept, so that older files are not mistaken for it."""
_ENDS = 1 << 16
_MISSING = 2.5
"""Median periods between two frames from which on some are missing between them."""


@dataclass(frozen=True)
class BagClip:
    """The frames of a camera topic.

    frames: (N, H, W, C) uint8, RGB or grey, on disk. stamps: (N,) int64, in nanoseconds. start, end: of the bag, in
    nanoseconds. problems: what could not be read, a sentence each.
    """

    frames: NDArray[np.uint8]
    stamps: NDArray[np.int64]
    start: int
    end: int
    problems: Sequence[str]

    def runs(self, start: float, end: float, least: int) -> list[NDArray[np.uint8]]:
        """Stretches of ``least`` frames or more without a missing one, between two parts of the time, in [0, 1]."""
        if len(self.stamps) < 2:
            return []
        steps = np.diff(self.stamps)
        share = (self.stamps - self.start) / max(self.end - self.start, 1)
        inside = (share >= start) & (share <= end)
        period = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
        broken = (steps <= 0) | (steps > _MISSING * period) | ~inside[1:] | ~inside[:-1]
        edges = [0, *(np.flatnonzero(broken) + 1).tolist(), len(self.stamps)]
        pieces = [(a, b) for a, b in pairwise(edges) if b - a >= least and inside[a]]
        return [self.frames[a:b] for a, b in pieces]


def default_cache() -> Path:
    """Where decoded frames are kept: ``$XDG_CACHE_HOME/stvae_ros/bags``, or the same in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stvae_ros" / "bags"


def bag_identity(bag: Bag) -> str:
    """Of the bag's files: names, sizes, times of change, and their first and last 64 KiB; not of where they lie."""
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
) -> BagClip:
    """The frames of a camera topic, from ``cache`` if this or another run has decoded them.

    Frames wider than max_width are scaled down to it, and then those that do not cover ``cover`` (H, W) scaled up until
    they do. channels: 1 or 3. progress: told the share that is decoded. Raises BagError.
    """
    bag = Bag(path)
    asked = f"{_FORMAT} {bag_identity(bag)} {topic} {cover} {max_width} {channels}"
    folder = cache / hashlib.sha256(asked.encode()).hexdigest()[:24]
    if not (folder / "about.json").is_file():
        _decode(bag, topic, (cover, max_width, channels), folder, progress)
    about = json.loads((folder / "about.json").read_text())
    frames = np.memmap(folder / "frames.u8", np.uint8, "r", shape=tuple(about["shape"]))
    return BagClip(frames, np.load(folder / "stamps.npy"), bag.start, bag.end, about["problems"])


def _decode(bag: Bag, topic: str, form: tuple[Size, int, int], folder: Path, progress: Callable[[float], None]) -> None:
    """Write the folder, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        stamps: list[int] = []
        shape: tuple[int, ...] | None = None
        with (part / "frames.u8").open("wb") as file:
            for frame in bag.images(topic):
                image = _in_form(frame.image, *form)
                if shape is None:
                    shape = image.shape
                if image.shape != shape:
                    bag.report(topic, f"frames of another size than the first, {shape[1]}x{shape[0]}, are left out")
                    continue
                file.write(np.ascontiguousarray(image).data)
                stamps.append(frame.stamp)
                progress((frame.time - bag.start) / max(bag.end - bag.start, 1))
        if shape is None:
            raise BagError("; ".join([*bag.problems, f"{bag.path}: topic {topic}: no frame can be decoded"]))
        np.save(part / "stamps.npy", np.array(stamps, np.int64))
        about = {"shape": [len(stamps), *shape], "bag": str(bag.path), "topic": topic, "problems": bag.problems}
        (part / "about.json").write_text(json.dumps(about, indent=1))
        try:
            part.rename(folder)
        except OSError:  # Another run was faster.
            if not (folder / "about.json").is_file():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _in_form(image: NDArray[np.uint8], cover: Size, max_width: int, channels: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = max(min(max_width / width, 1.0), cover[0] / height, cover[1] / width)
    if scale != 1.0:
        size = (max(round(width * scale), cover[1]), max(round(height * scale), cover[0]))
        smoothing = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, size, interpolation=smoothing).astype(np.uint8, copy=False)
    return in_channels(image, channels)
