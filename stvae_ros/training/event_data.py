"""Sequences of event images for training: simulated from frames, or recorded by event cameras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from stvae_ros.data.media import MediaError
from stvae_ros.data.sequences import Item, MixedSequences, Size, to_frames
from stvae_ros.events.arrays import windows_of_time
from stvae_ros.events.images import EventImage
from stvae_ros.events.readers import open_events
from stvae_ros.events.simulator import EventModel, EventSimulator
from stvae_ros.training.data import VALIDATION_SEED, Clip, SequenceData, split_off_tail

_PERIOD = 33_333_333
"""Nanoseconds between frames. Only a refractory time would depend on it, and the simulated camera has none."""
_THRESHOLDS = (0.1, 0.4)
"""Range of the contrast threshold."""
_MISMATCH = 0.2
"""Largest difference between the ON and the OFF threshold, as a share of their mean."""
_PIXEL_NOISE = 0.1
"""Largest noise of the thresholds from pixel to pixel."""
_STRAY = 0.005
"""Largest share of pixels with a noise event between two frames."""
_GREY = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


class EventSequences(Dataset[Item]):
    """Event images simulated from the frames of other sequences, with random thresholds and noise.

    T + 1 frames give T event images, hence T - 1 steps. An event image holds the events up to its frame, so the flow of
    a step is the flow from this frame to the next. Item ``index`` is a pure function of (seed, index).

    Args:
        frames: sequences with grey or RGB frames.
        image: representation of the events.
        seed: seed of thresholds and noise.
    """

    def __init__(self, frames: Dataset[Item], image: EventImage, seed: int) -> None:
        self.frames, self.image, self.seed = frames, image, seed

    def __len__(self) -> int:
        return len(self.frames)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Item:
        item = self.frames[index]
        rng = np.random.default_rng((self.seed, index, 2))
        frames = item["frames"]
        grey = frames if frames.shape[1] == 1 else (frames * _GREY).sum(dim=1, keepdim=True)
        return {
            "frames": to_frames([self.image.of_counts(counts) for counts in self._counts(grey[:, 0], rng)]),
            "flow": item["flow"][1:].contiguous(),
            "flow_known": item["flow_known"][1:].contiguous(),
        }

    def _counts(self, grey: Tensor, rng: np.random.Generator) -> list[NDArray[np.integer]]:
        theta, mismatch = rng.uniform(*_THRESHOLDS), rng.uniform(-_MISMATCH, _MISMATCH) / 2
        model = EventModel(
            theta_on=theta * (1 + mismatch), theta_off=theta * (1 - mismatch), noise=rng.uniform(0, _PIXEL_NOISE)
        )
        simulator = EventSimulator(model, int(rng.integers(2**31)))
        share = rng.uniform(0, _STRAY)
        images = []
        for t, frame in enumerate(grey):
            step = simulator.step(frame, t * _PERIOD)
            if step is not None:
                strays = (rng.uniform(size=frame.shape) < share) * rng.choice([-1, 1], size=frame.shape)
                images.append(step.counts + strays)
        return images


class RecordedEvents(Dataset[Item]):
    """Random crops of recorded event images, without flow. All recordings are equally likely.

    Args:
        recordings: event images (N, H, W, C) of each recording.
        count: number of items.
        length: T; an item has T + 1 event images.
        size: (height, width) of the crops in pixels.
        seed: seed of the crops.
        augment: whether crops are mirrored at random along both axes.

    Raises:
        ValueError: a recording is too short or too small.
    """

    def __init__(
        self, recordings: Sequence[Clip], count: int, length: int, size: Size, seed: int, augment: bool
    ) -> None:
        for images in recordings:
            if len(images) <= length or images.shape[1] < size[0] or images.shape[2] < size[1]:
                raise ValueError(
                    f"a recording of {len(images)} event images of {images.shape[2]}x{images.shape[1]} is too small: "
                    f"sequences need {length + 1} of {size[1]}x{size[0]}"
                )
        self.recordings, self.count, self.length = recordings, count, length
        self.size, self.seed, self.augment = size, seed, augment

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng((self.seed, index))
        images = self.recordings[int(rng.integers(len(self.recordings)))]
        height, width = self.size
        start = int(rng.integers(len(images) - self.length))
        top, left = int(rng.integers(images.shape[1] - height + 1)), int(rng.integers(images.shape[2] - width + 1))
        crop = images[start : start + self.length + 1, top : top + height, left : left + width]
        frames = to_frames(list(crop))
        if self.augment:
            for side in (2, 3):
                frames = frames.flip(side) if rng.uniform() < 0.5 else frames
        return {
            "frames": frames,
            "flow": torch.zeros(self.length, 2, height, width),
            "flow_known": torch.zeros(self.length, height, width, dtype=torch.bool),
        }


class EventData(SequenceData):
    """Event images, simulated from the sequences of `SequenceData` or recorded by event cameras.

    The last tenth of each recording, at least one sequence, is held out for validation.

    Args:
        root: folder of clips and recordings; the working directory by default.
        length: event images that the network sees in a sequence.
        channels: channels of the frames that events are simulated from, 3 or 1.
        representation: see `EventImage`.
        limit: see `EventImage`.
        window: see `EventImage`; recordings are cut into windows of this many milliseconds.
        recordings: recordings of event cameras, relative to ``root``; see `open_events`.
        recorded_share: probability of a recorded sequence.
        sequences: arguments of `SequenceData`.
    """

    def __init__(
        self,
        root: str | None = None,
        length: int = 8,
        channels: int = 3,
        representation: str = "signed",
        limit: int = 5,
        window: float = 33.3,
        recordings: list[str] = [],  # noqa: B006
        recorded_share: float = 0.0,
        **sequences: Any,
    ) -> None:
        super().__init__(root=root, length=length + 1, channels=channels, **sequences)
        self.image = EventImage(representation, limit, window)
        self.recordings, self.recorded_share = [Path(root or ".") / path for path in recordings], recorded_share
        if bool(recordings) != bool(recorded_share):
            raise ValueError("recordings and recorded_share go together: give both or neither")

    @property
    def input_metadata(self) -> dict[str, str]:
        """Metadata of the checkpoint: the representation of the events."""
        return self.image.metadata()

    def make_sets(self) -> tuple[Dataset[Item], Dataset[Item]]:
        """Build both sets.

        Raises:
            MediaError: as in `SequenceData.make_sets`, or a recording is too short.
        """
        train, validation = (EventSequences(frames, self.image, self.seed) for frames in super().make_sets())
        if not self.recordings:
            return train, validation
        length, count = self.length - 1, self.steps_per_epoch * self.batch_size
        parts = [split_off_tail(recorded_images(path, self.image), length + 1, path) for path in self.recordings]
        heads, tails = zip(*parts, strict=True)
        recorded = RecordedEvents(heads, count, length, self.size, self.seed, augment=True)
        held_out = RecordedEvents(tails, self.validation_count, length, self.size, VALIDATION_SEED, augment=False)
        shares = [1 - self.recorded_share, self.recorded_share]
        return (
            MixedSequences([train, recorded], shares, count, self.seed + 1),
            ConcatDataset([validation, held_out]),
        )


def recorded_images(path: Path, image: EventImage) -> Clip:
    """Read a recording as event images, one per window, (N, H, W, C).

    Raises:
        MediaError: the recording cannot be read, or is shorter than one window.
    """
    recording = open_events(path)
    windows = windows_of_time(recording.read(), round(image.window * 1e6))
    images = [image.draw(window.events, recording.height, recording.width) for window in windows]
    if not images:
        raise MediaError(f"{path}: shorter than one window of {image.window:g} ms")
    return np.stack(images)
