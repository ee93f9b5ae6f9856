"""Frames with semantic labels from two folders of images, and training sequences of them.

An item of a data set is a dict of tensors:

- frames: (T, 3, H, W) float32 RGB in [0, 1].
- labels: (T, H, W) int64 class ids, `UNKNOWN` where there is no label. Only the last frame has labels.
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

from stvae_ros.data.media import Image, MediaError, image_files, read_image
from stvae_ros.data.scenes.geometry import Matrix, rotation, translation
from stvae_ros.data.sequences import Item, Size, to_frames

UNKNOWN = -1


class Labelled(NamedTuple):
    """A frame with labels.

    Attributes:
        image: (H, W) or (H, W, 3) uint8 BGR.
        labels: class ids, (H, W) uint8.
        name: name of the file without suffix.
    """

    image: Image
    labels: NDArray[np.uint8]
    name: str = ""


def read_labelled(
    frames: str | Path, annotations: str | Path, size: Size | None = None, exclude: Sequence[str] = ()
) -> Iterator[Labelled]:
    """Reads the frames of a folder and the label images of another folder; both are paired in the order of their names.

    Args:
        frames: folder of the frames.
        annotations: folder of the label images.
        size: height and width to which frames (by area) and labels (by nearest neighbour) are scaled; None keeps them.
        exclude: files whose names start with one of these are left out.

    Yields:
        The frames with their labels.

    Raises:
        MediaError: a file is missing or cannot be read, or a frame and its labels differ in size.
    """
    images, labels = (_files(Path(folder), exclude) for folder in (frames, annotations))
    if len(images) != len(labels):
        raise MediaError(f"{frames} has {len(images)} images and {annotations} {len(labels)}: complete them")
    for path, annotation in zip(images, labels, strict=True):
        yield _read(path, annotation, size)


def _read(path: Path, annotation: Path, size: Size | None) -> Labelled:
    image, labels = read_image(path), read_image(annotation, cv2.IMREAD_GRAYSCALE)
    if image.shape[:2] != labels.shape:
        raise MediaError(
            f"{annotation}: {labels.shape[1]}x{labels.shape[0]}, but its frame is {image.shape[1]}x{image.shape[0]}"
        )
    if size is not None:
        height, width = size
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)
    return Labelled(image, labels, path.stem)


def _files(folder: Path, exclude: Sequence[str]) -> list[Path]:
    if not folder.is_dir():
        raise MediaError(f"{folder}: no such folder of images")
    return [path for path in image_files(folder) if not path.stem.startswith(tuple(exclude))]


class MovingStills(Dataset[Item]):
    """Sequences of a virtual camera that moves over labelled photographs.

    The camera translates, approaches, rotates and shakes. Brightness, contrast, colour and noise change. Item ``index``
    is a pure function of (seed, index).
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
        """Sets up the data set.

        Args:
            stills: photographs with labels, at least of ``size``.
            count: number of items.
            length: number of frames T.
            size: height and width of the frames in pixels.
            classes: number of classes; higher ids count as unlabelled.
            max_speed: largest speed of the camera in pixels per frame.
            seed: seed of the random choices.
        """
        self.stills, self.count, self.length, self.size = stills, count, length, size
        self.classes, self.max_speed, self.seed = classes, max_speed, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng((self.seed, index))
        still = self.stills[int(rng.integers(len(self.stills)))]
        poses = self._poses(rng, still.labels.shape)
        rgb = cv2.cvtColor(still.image, cv2.COLOR_BGR2RGB)
        height, width = self.size
        images = [
            cv2.warpAffine(rgb, pose[:2], (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101)
            for pose in poses
        ]
        last = cv2.warpAffine(
            still.labels,
            poses[-1][:2],
            (width, height),
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(255,),
        )
        return {
            "frames": _lit(to_frames([image.astype(np.uint8, copy=False) for image in images]), rng),
            "labels": _labels_of_last(last.astype(np.uint8, copy=False), self.length, self.classes),
        }

    def _poses(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[Matrix]:
        """Transform from the still to each frame; the last frame is inside the still."""
        (height, width), (tall, wide) = self.size, shape
        fit = max(height / tall, width / wide)
        scale = fit * rng.uniform(1.0, 1.6)
        left, top = rng.uniform(0, wide - width / scale), rng.uniform(0, tall - height / scale)
        pose = rotation(scale, 0.0) @ translation(-left, -top)
        if rng.uniform() < 0.5:
            pose = np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]]) @ pose
        speed = self.max_speed * rng.uniform() ** 2
        direction = rng.uniform(0, 2 * np.pi)
        zoom, turn = rng.normal(0, 0.012), rng.normal(0, 0.004)
        centre, back = translation(width / 2, height / 2), translation(-width / 2, -height / 2)
        poses = [pose]
        for _ in range(self.length - 1):
            shake = rng.normal(0, 0.3, 2)
            move = rotation(1 - zoom, turn)
            move[:2, 2] = speed * np.cos(direction) + shake[0], speed * np.sin(direction) + shake[1]
            poses.append(centre @ move @ back @ poses[-1])
        return poses[::-1]


class RecordedSequences(Dataset[Item]):
    """All runs of consecutive labelled frames within one recording; only the labels of the last frame are given."""

    def __init__(self, frames: Sequence[Labelled], length: int, classes: int, step: int = 1) -> None:
        """Finds the runs.

        Args:
            frames: frames in order. Their names are the name of the recording, an underscore and the rest.
            length: number of frames T.
            classes: number of classes; higher ids count as unlabelled.
            step: number of frames from the start of one run to the start of the next.
        """
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
        return {"frames": to_frames(images), "labels": _labels_of_last(run[-1].labels, self.length, self.classes)}


def _labels_of_last(labels: NDArray[np.uint8], length: int, classes: int) -> torch.Tensor:
    """Labels of a sequence, (length, H, W) int64: those of the last frame, and `UNKNOWN` elsewhere."""
    sequence = torch.full((length, *labels.shape), UNKNOWN, dtype=torch.int64)
    sequence[-1] = torch.from_numpy(np.where(labels < classes, labels.astype(np.int64), UNKNOWN))
    return sequence


def _lit(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Changes brightness and contrast, a little differently in each frame, and the colour, and adds noise."""
    count = len(frames)
    gain = rng.uniform(0.7, 1.3) * rng.normal(1, 0.01, (count, 1, 1, 1))
    bias = rng.uniform(-0.1, 0.1) + rng.normal(0, 0.005, (count, 1, 1, 1))
    tint = rng.normal(1, 0.05, (1, 3, 1, 1))
    noise = rng.normal(0, rng.uniform(0, 0.02), frames.shape)
    changed = frames.numpy() * gain * tint + bias + noise
    return torch.from_numpy(np.clip(changed, 0, 1).astype(np.float32))
