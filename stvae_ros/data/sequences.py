"""Training sequences as PyTorch data sets: synthetic scenes, video clips, and a mixture of data sets.

An item is a dict of tensors:

- frames: (T + 1, C, H, W) float32 in [0, 1], grey (C = 1) or RGB (C = 3).
- flow: (T, 2, H, W) float32, true backward flow from frame t to t + 1 in pixels; 0 where unknown.
- flow_known: (T, H, W) bool, True where that flow is exact and the pixel is visible in frame t.

Item ``index`` is a pure function of (seed, index).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from stvae_ros.data.media import Image, MediaError, read_frames
from stvae_ros.data.scenes.shapes import SyntheticScene

Item = dict[str, Tensor]
Size = tuple[int, int]
"""Height and width in pixels."""


def load_clip(path: str | Path, max_width: int, channels: int) -> NDArray[np.uint8]:
    """Decodes a video file or a folder of images.

    Args:
        path: the video file or folder.
        max_width: width in pixels to which wider frames are scaled down.
        channels: 1 for grey, 3 for RGB.

    Returns:
        The frames, (N, H, W, channels) uint8.

    Raises:
        MediaError: the clip cannot be read, or its frames differ in size.
    """
    frames: list[Image] = []
    for frame in read_frames(path):
        frame = no_wider(frame, max_width)
        if frames and frame.shape[:2] != frames[0].shape[:2]:
            raise MediaError(f"{path}: frame {len(frames)} has another size than the first; a clip has one size")
        frames.append(in_channels(frame, channels))
    return np.stack(frames)


def no_wider(image: NDArray[np.uint8], max_width: int) -> NDArray[np.uint8]:
    """Scales an image (H, W) or (H, W, C) down to ``max_width`` if it is wider."""
    height, width = image.shape[:2]
    if width <= max_width:
        return image
    scaled = (max_width, round(height * max_width / width))
    return cv2.resize(image, scaled, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def in_channels(frame: Image, channels: int) -> Image:
    """Converts grey (H, W) or BGR (H, W, 3) to grey (H, W, 1) or RGB (H, W, 3)."""
    if channels == 1:
        grey = frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        return grey[..., None].astype(np.uint8, copy=False)
    code = cv2.COLOR_GRAY2RGB if frame.ndim == 2 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(frame, code).astype(np.uint8, copy=False)


def to_frames(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Converts N images (H, W, C) uint8 to a tensor (N, C, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


class SyntheticSequences(Dataset[Item]):
    """Sequences of random synthetic scenes with exact flow."""

    def __init__(self, count: int, length: int, size: Size, channels: int, max_speed: float, seed: int) -> None:
        """Sets up the data set.

        Args:
            count: number of items.
            length: number of predicted frames T.
            size: height and width of the frames in pixels.
            channels: 1 for grey, 3 for RGB.
            max_speed: largest speed of objects in pixels per frame.
            seed: seed of the scenes.
        """
        self.count, self.length, self.size = count, length, size
        self.channels, self.max_speed, self.seed = channels, max_speed, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng((self.seed, index))
        scene = SyntheticScene(
            seed=int(rng.integers(2**31)),
            width=self.size[1],
            height=self.size[0],
            objects=int(rng.integers(0, 5)),
            max_speed=self.max_speed * rng.uniform(),
            camera_motion=float(rng.choice([0.0, 1.0, 2.0], p=[0.25, 0.4, 0.35])),
        )
        start = int(rng.integers(0, 100))
        frames, truths = [], []
        for t in range(start, start + self.length):
            frames.append(scene.frame(t))
            truths.append(scene.truth(t))
        frames.append(scene.frame(start + self.length))
        return {
            "frames": to_frames([in_channels(frame, self.channels) for frame in frames]),
            "flow": torch.from_numpy(np.stack([truth.backward_flow.transpose(2, 0, 1) for truth in truths])),
            "flow_known": torch.from_numpy(np.stack([truth.visible for truth in truths])),
        }


class ClipSequences(Dataset[Item]):
    """Random crops of video clips, without flow.

    A crop is one to three times as large as ``size`` and is scaled to ``size``, so that motion comes at several speeds.
    """

    def __init__(
        self,
        clips: Sequence[NDArray[np.uint8]],
        count: int,
        length: int,
        size: Size,
        seed: int,
        augment: bool,
        max_stride: int = 1,
        max_stretch: float = 1.0,
        by_length: bool = False,
    ) -> None:
        """Sets up the data set.

        Args:
            clips: (N, H, W, C) uint8 arrays.
            count: number of items.
            length: number of predicted frames T.
            size: height and width of the frames in pixels.
            seed: seed of the random choices.
            augment: mirror, reverse in time and change brightness and contrast at random.
            max_stride: take every n-th frame with n up to this value; each n is half as likely as n - 1.
            max_stretch: the aspect ratio of a crop is that of ``size``, times or divided by up to this factor.
            by_length: choose clips in proportion to their length instead of all with the same probability.

        Raises:
            ValueError: a clip is too short or too small.
        """
        needed = length * max_stride + 1
        for clip in clips:
            if len(clip) < needed:
                raise ValueError(f"a clip of {len(clip)} frames is too short: sequences need {needed}")
            if clip.shape[1] < size[0] or clip.shape[2] < size[1]:
                crop = f"{size[1]}x{size[0]}"
                raise ValueError(f"a clip of {clip.shape[2]}x{clip.shape[1]} is too small for crops of {crop}")
        self.clips, self.count, self.length = clips, count, length
        self.size, self.seed, self.augment = size, seed, augment
        self.max_stride, self.max_stretch = max_stride, max_stretch
        lengths = np.array([len(clip) for clip in clips], float)
        self.chances = lengths / lengths.sum() if by_length else None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng((self.seed, index))
        if self.chances is None:
            clip = self.clips[int(rng.integers(len(self.clips)))]
        else:
            clip = self.clips[int(rng.choice(len(self.clips), p=self.chances))]
        stride = 1
        while stride < self.max_stride and rng.uniform() < 0.5:
            stride += 1
        span = self.length * stride
        start = int(rng.integers(len(clip) - span))
        height, width = self.size
        room = clip.shape[1] / height, clip.shape[2] / width
        zoom = rng.uniform(1, min(*room, 3))
        stretch = self.max_stretch ** rng.uniform(-1, 1)
        tall, wide = round(zoom * height), round(min(max(zoom * stretch, 1), room[1]) * width)
        top, left = int(rng.integers(clip.shape[1] - tall + 1)), int(rng.integers(clip.shape[2] - wide + 1))
        crops = clip[start : start + span + 1 : stride, top : top + tall, left : left + wide]
        shape = (height, width, clip.shape[3])
        images = [cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA).reshape(shape) for crop in crops]
        frames = to_frames([image.astype(np.uint8, copy=False) for image in images])
        return {
            "frames": _augmented(frames, rng) if self.augment else frames,
            "flow": torch.zeros(self.length, 2, height, width),
            "flow_known": torch.zeros(self.length, height, width, dtype=torch.bool),
        }


def _augmented(frames: Tensor, rng: np.random.Generator) -> Tensor:
    if rng.uniform() < 0.5:
        frames = frames.flip(-1)
    if rng.uniform() < 0.5:
        frames = frames.flip(0)
    gain, bias = rng.uniform(0.7, 1.3), rng.uniform(-0.1, 0.1)
    return (frames * gain + bias).clamp(0, 1)


class MixedSequences(Dataset[Item]):
    """A mixture: each item comes from one of several data sets, chosen at random."""

    def __init__(self, sets: Sequence[Dataset[Item]], shares: Sequence[float], count: int, seed: int) -> None:
        """Sets up the mixture.

        Args:
            sets: data sets of at least ``count`` items each.
            shares: probability of each data set; the sum is 1.
            count: number of items.
            seed: seed of the choice.
        """
        self.sets, self.limits = sets, np.cumsum(shares)[:-1]
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        draw = np.random.default_rng((self.seed, index, 1)).uniform()
        return self.sets[int(np.searchsorted(self.limits, draw, side="right"))][index]
