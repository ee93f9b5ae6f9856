"""Frames with semantic labels, from a folder of images and one of label images, and sequences for training.

An item is a dict of tensors: frames (T, 3, H, W) float32 RGB in [0, 1], and labels (T, H, W) int64, `UNKNOWN` wherever
there is no label: in whole frames, for most of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from stvae_ros.data.media import IMAGE_SUFFIXES, Image, MediaError
from stvae_ros.data.sequences import Item, Size, to_frames

UNKNOWN = -1
_Matrix = NDArray[np.float64]


class Labelled(NamedTuple):
    """A frame, (H, W) or (H, W, 3) uint8 BGR, and its true labels, (H, W) uint8; name: of its file, without suffix."""

    image: Image
    labels: NDArray[np.uint8]
    name: str = ""


def read_labelled(
    frames: str | Path, annotations: str | Path, size: Size | None = None, exclude: Sequence[str] = ()
) -> Iterator[Labelled]:
    """Yield the frames of a folder, sorted by name, with the label images of another folder, in the same order.

    size: (height, width) to scale to, frames by area and labels by nearest neighbour. exclude: beginnings of names to
    leave out. Raises MediaError for what is missing, cannot be read or does not fit.
    """
    images, labels = (_files(Path(folder), exclude) for folder in (frames, annotations))
    if len(images) != len(labels):
        raise MediaError(f"{frames} has {len(images)} images and {annotations} {len(labels)}: complete them")
    for path, annotation in zip(images, labels, strict=True):
        yield _read(path, annotation, size)


def _read(path: Path, annotation: Path, size: Size | None) -> Labelled:
    image, labels = cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.imread(str(annotation), cv2.IMREAD_GRAYSCALE)
    if image is None or labels is None:
        bad = path if image is None else annotation
        raise MediaError(f"{bad}: not an image that OpenCV can read; remove or convert it")
    if image.shape[:2] != labels.shape:
        raise MediaError(
            f"{annotation}: {labels.shape[1]}x{labels.shape[0]}, but its frame is {image.shape[1]}x{image.shape[0]}"
        )
    if size is not None:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        labels = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)
    return Labelled(image.astype(np.uint8, copy=False), labels.astype(np.uint8, copy=False), path.stem)


def _files(folder: Path, exclude: Sequence[str]) -> list[Path]:
    if not folder.is_dir():
        raise MediaError(f"{folder}: no such folder of images")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return [path for path in paths if not path.stem.startswith(tuple(exclude))]


class MovingStills(Dataset[Item]):
    """Sequences of a camera that moves over labelled photographs, for data sets that label a frame a second.

    stills: frames and labels, at least of ``size``. count: items. length: frames T; the last has labels, the others
    none. size: H and W. max_speed: of the camera in pixels a frame; it also comes nearer, turns and shakes a little,
    and light and noise change from frame to frame. classes: ids from here on are no labels. seed: of everything; item
    `index` is a pure function of (seed, index).
    """

    def __init__(
        self,
        stills: Sequence[Labelled],
        count: int,
        length: int,
        size: Size,
        classes: int,
        max_speed: float,
        seed: int,
    ) -> None:
        self.stills, self.count, self.length, self.size = stills, count, length, size
        self.classes, self.max_speed, self.seed = classes, max_speed, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng((self.seed, index))
        still = self.stills[int(rng.integers(len(self.stills)))]
        poses = self._poses(rng, still.labels.shape)
        rgb = cv2.cvtColor(still.image, cv2.COLOR_BGR2RGB)
        size = self.size[::-1]
        frames = to_frames(
            [
                cv2.warpAffine(rgb, pose[:2], size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101).astype(
                    np.uint8, copy=False
                )
                for pose in poses
            ]
        )
        last = cv2.warpAffine(
            still.labels, poses[-1][:2], size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=255
        )
        labels = torch.full((self.length, *self.size), UNKNOWN, dtype=torch.int64)
        labels[-1] = known_labels(last.astype(np.uint8, copy=False), self.classes)
        return {"frames": _lit(frames, rng), "labels": labels}

    def _poses(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[_Matrix]:
        """For each frame the map from the still to the frame, the last of which lies within the still."""
        (height, width), (tall, wide) = self.size, shape
        fit = max(height / tall, width / wide)
        scale = fit * rng.uniform(1.0, 1.6)
        left, top = rng.uniform(0, wide - width / scale), rng.uniform(0, tall - height / scale)
        pose = np.array([[scale, 0, -left * scale], [0, scale, -top * scale], [0, 0, 1.0]])
        if rng.uniform() < 0.5:
            pose = np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]]) @ pose
        speed = self.max_speed * rng.uniform() ** 2
        direction = rng.uniform(0, 2 * np.pi)
        zoom, turn = rng.normal(0, 0.012), rng.normal(0, 0.004)
        poses = [pose]
        for _ in range(self.length - 1):
            shake = rng.normal(0, 0.3, 2)
            cos, sin = (1 - zoom) * np.cos(turn), (1 - zoom) * np.sin(turn)
            x, y = speed * np.cos(direction) + shake[0], speed * np.sin(direction) + shake[1]
            # About the middle of the frame.
            middle = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1.0]])
            move = middle @ np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1.0]]) @ np.linalg.inv(middle)
            poses.append(move @ poses[-1])
        return poses[::-1]


class RecordedSequences(Dataset[Item]):
    """Every run of ``length`` frames of one recording whose frames all have labels; only the last one's are given.

    frames: in order, their names beginning with that of the recording and an underscore. step: frames from the start
    of one sequence to that of the next. classes: ids from here on are no labels.
    """

    def __init__(self, frames: Sequence[Labelled], length: int, classes: int, step: int = 1) -> None:
        self.frames, self.length, self.classes = frames, length, classes
        recordings = [frame.name.rsplit("_", 1)[0] for frame in frames]
        starts = range(0, len(frames) - length + 1, step)
        self.starts = [start for start in starts if recordings[start] == recordings[start + length - 1]]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Item:
        start = self.starts[index]
        run = self.frames[start : start + self.length]
        images = [cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False) for frame in run]
        labels = torch.full((self.length, *images[0].shape[:2]), UNKNOWN, dtype=torch.int64)
        labels[-1] = known_labels(run[-1].labels, self.classes)
        return {"frames": to_frames(images), "labels": labels}


def known_labels(labels: NDArray[np.uint8], classes: int) -> torch.Tensor:
    """A label image (H, W) as int64, `UNKNOWN` for ids from ``classes`` on."""
    return torch.from_numpy(np.where(labels < classes, labels.astype(np.int64), UNKNOWN))


def _lit(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Another light, a little different in every frame, another colour, and noise."""
    count = len(frames)
    gain = rng.uniform(0.7, 1.3) * rng.normal(1, 0.01, (count, 1, 1, 1))
    bias = rng.uniform(-0.1, 0.1) + rng.normal(0, 0.005, (count, 1, 1, 1))
    tint = rng.normal(1, 0.05, (1, 3, 1, 1))
    noise = rng.normal(0, rng.uniform(0, 0.02), frames.shape)
    changed = frames.numpy() * gain * tint + bias + noise
    return torch.from_numpy(np.clip(changed, 0, 1).astype(np.float32))
