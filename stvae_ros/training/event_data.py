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
from stvae_ros.training.data import VALIDATION_SEED, SequenceData

_PERIOD = 33_333_333
"""Nanoseconds from frame to frame; only the refractory time depends on it, which is none here."""
_THRESHOLDS = (0.1, 0.4)
_MISMATCH = 0.2
"""Largest difference of the two thresholds, of their mean."""
_PIXEL_NOISE = 0.1
_STRAY = 0.005
"""Largest share of pixels that fire by chance between two frames."""
_GREY = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


class EventSequences(Dataset[Item]):
    """The events between the frames of other sequences, by a camera of random thresholds and noise.

    Of T + 1 frames there are T event images, hence T - 1 steps. An event image holds what happened up to its frame: the
    flow of a step is that from this frame to the next. Item `index` is a pure function of (seed, index).
    frames: sequences with grey frames or RGB. image: what to draw.
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
        made = []
        for t, frame in enumerate(grey):
            step = simulator.step(frame, t * _PERIOD)
            if step is not None:
                strays = (rng.uniform(size=frame.shape) < share) * rng.choice([-1, 1], size=frame.shape)
                made.append(step.counts + strays)
        return made


class RecordedEvents(Dataset[Item]):
    """Random crops of the event images of recordings, each as likely as the others, without flow.

    recordings: (N, H, W, C) uint8, see `EventImage`; crops are mirrored at random with ``augment``.
    """

    def __init__(
        self,
        recordings: Sequence[NDArray[np.uint8]],
        count: int,
        length: int,
        size: Size,
        seed: int,
        augment: bool,
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
    """Sequences of event images, simulated from the sequences of `SequenceData`, whose options these are too.

    channels: of the frames that events are made from, 3 or 1. length: event images seen per sequence.
    representation, limit, window: see `EventImage`. Frames of any rate make events; recordings are cut into windows.
    recordings: of event cameras, see `open_events`, relative to ``root``. recorded_share: probability of a crop of one
    of them. The last tenth of each is never trained on, and at least one sequence.
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
        """What the weights say of their input."""
        return self.image.metadata()

    def setup(self, stage: str) -> None:
        """As `SequenceData.setup`. Raises MediaError for a recording that is too short."""
        if self.train_set is not None:
            return
        super().setup(stage)
        assert self.train_set is not None and self.validation_set is not None
        self.train_set = EventSequences(self.train_set, self.image, self.seed)
        self.validation_set = EventSequences(self.validation_set, self.image, self.seed)
        if not self.recordings:
            return
        seen = self.length - 1
        heads, tails = [], []
        for path in self.recordings:
            images = recorded_images(path, self.image)
            split = len(images) - max(len(images) // 10, seen + 1)
            if split < seen + 1:
                raise MediaError(
                    f"{path}: {len(images)} windows of {self.image.window:g} ms are too few: these sequences need "
                    f"{2 * seen + 2}"
                )
            heads.append(images[:split])
            tails.append(images[split:])
        count = self.steps_per_epoch * self.batch_size
        recorded = RecordedEvents(heads, count, seen, self.size, self.seed, augment=True)
        shares = [1 - self.recorded_share, self.recorded_share]
        self.train_set = MixedSequences([self.train_set, recorded], shares, count, self.seed + 1)
        held_out = RecordedEvents(tails, self.validation_count, seen, self.size, VALIDATION_SEED, augment=False)
        self.validation_set = ConcatDataset([self.validation_set, held_out])


def recorded_images(path: Path, image: EventImage) -> NDArray[np.uint8]:
    """The event images of a recording, one window after the other, (N, H, W, C). Raises MediaError."""
    recording = open_events(path)
    windows = windows_of_time(recording.read(), round(image.window * 1e6))
    images = [image.draw(window.events, recording.height, recording.width) for window in windows]
    if not images:
        raise MediaError(f"{path}: shorter than one window of {image.window:g} ms")
    return np.stack(images)
