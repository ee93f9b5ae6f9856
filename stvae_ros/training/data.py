"""Lightning data modules: synthetic scenes and recorded clips, and Moving MNIST."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler

from stvae_ros.data.media import MediaError
from stvae_ros.data.mnist import Split, load_digits
from stvae_ros.data.moving_mnist import MovingMnist, MovingMnistFile, render
from stvae_ros.data.scenes.photographs import PhotoScenes
from stvae_ros.data.sequences import ClipSequences, Item, MixedSequences, Size, SyntheticSequences, load_clip, no_wider

VALIDATION_SEED = 1_000_003
_EPOCH = 10_000
"""Sequences in an epoch of the paper."""
_PHOTO_STEP = 5
"""Frames of a clip from one photograph to the next; more where there would be too many."""
_MOST_PHOTOS = 1000
_PHOTO_WIDTH = 640
"""To which wider photographs are scaled down."""


class ResumableSampler(Sampler[int]):
    """Counts upwards for ever: an epoch starts at the sample that follows the last one trained on.

    An epoch is ``steps`` batches. With several processes each takes its part of one large batch, so that n of them
    see, step by step, what one would with n times the batch. ``wrap``: samples after which the first comes again.
    """

    def __init__(self, module: pl.LightningDataModule, steps: int, batch_size: int, wrap: int | None = None) -> None:
        self.module, self.steps, self.batch_size, self.wrap = module, steps, batch_size, wrap

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[int]:
        trainer = self.module.trainer
        assert trainer is not None
        processes, rank = trainer.world_size, trainer.global_rank
        for step in range(trainer.global_step, trainer.global_step + self.steps):
            start = (step * processes + rank) * self.batch_size
            for index in range(start, start + self.batch_size):
                yield index if self.wrap is None else index % self.wrap


class SequenceModule(pl.LightningDataModule):
    """A training set whose sample n is the same in every run, and a fixed validation set; `setup` makes both.

    steps_per_epoch: optimizer steps. wrap: samples after which the first comes again, None for never.
    """

    steps_per_epoch: int
    wrap: int | None = None

    def __init__(self, batch_size: int, num_workers: int) -> None:
        super().__init__()
        self.batch_size, self.num_workers = batch_size, num_workers
        self.train_set: Dataset[Item] | None = None
        self.validation_set: Dataset[Item] | None = None

    def train_dataloader(self) -> DataLoader[Item]:
        """Batches that go on where the last checkpoint stopped."""
        assert self.train_set is not None
        return self._loader(self.train_set, ResumableSampler(self, self.steps_per_epoch, self.batch_size, self.wrap))

    def val_dataloader(self) -> DataLoader[Item]:
        """The fixed validation sequences."""
        assert self.validation_set is not None
        return self._loader(self.validation_set)

    def _loader(self, dataset: Dataset[Item], sampler: Sampler[int] | None = None) -> DataLoader[Item]:
        # Workers start once, before the first step: later they would take along all the memory that training has.
        workers = self.num_workers
        return DataLoader(
            dataset, self.batch_size, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
        )


class SequenceData(SequenceModule):
    """Sequences for training and validation.

    clips: video files or folders of images, relative to ``root`` (by default the working directory).
    synthetic_share: probability that a sequence is a synthetic scene; 1 without clips. photo_share: probability that
    it is a scene of photographs, namely of frames of the clips; needs channels = 3.
    size: height and width of the crops in pixels, or the side of square ones. length: frames seen per sequence.
    channels: 1 or 3. max_speed: of synthetic objects in pixels per frame. max_photo_speed: of photographs.
    max_stride, max_stretch: see `ClipSequences`. max_width: clips are scaled down to this width.
    batch_size: sequences per step. steps_per_epoch: optimizer steps per epoch. seed: of all sampling.
    validation_count: sequences of each kind in the validation set, drawn from scenes of another seed and from
    the last tenth of each clip (at least one sequence), which is never trained on.
    """

    def __init__(
        self,
        clips: list[str] = [],  # noqa: B006
        root: str | None = None,
        synthetic_share: float = 0.5,
        photo_share: float = 0.0,
        size: int | Size = 64,
        length: int = 8,
        channels: int = 1,
        max_speed: float = 4.0,
        max_photo_speed: float = 16.0,
        max_stride: int = 1,
        max_stretch: float = 1.0,
        max_width: int = 320,
        batch_size: int = 8,
        steps_per_epoch: int = 50,
        validation_count: int = 16,
        num_workers: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers)
        self.clip_paths = [Path(root or ".") / clip for clip in clips]
        if photo_share and channels != 3:
            raise ValueError("photo_share needs channels = 3")
        self.shares = [synthetic_share, photo_share, 1 - synthetic_share - photo_share]
        self.max_photo_speed, self.max_stride, self.max_stretch = max_photo_speed, max_stride, max_stretch
        self.size: Size = (size, size) if isinstance(size, int) else size
        self.length, self.channels = length, channels
        self.max_speed, self.max_width = max_speed, max_width
        self.steps_per_epoch, self.validation_count, self.seed = steps_per_epoch, validation_count, seed
        self.by_length = False

    def setup(self, stage: str) -> None:
        """Decode the clips and build both sets. Raises MediaError for a clip that is missing or unreadable."""
        if self.train_set is not None:
            return
        # In the workers OpenCV would take cores from the training; set there, after a fork, this call would hang.
        cv2.setNumThreads(1)
        heads, tails = self._split_clips()
        count = self.steps_per_epoch * self.batch_size
        synthetic = SyntheticSequences(count, self.length, self.size, self.channels, self.max_speed, self.seed)
        held_out = SyntheticSequences(
            self.validation_count, self.length, self.size, self.channels, self.max_speed, VALIDATION_SEED + self.seed
        )
        if not heads:
            if self.shares[1]:
                raise MediaError("photo_share needs clips to take photographs from")
            self.train_set, self.validation_set = synthetic, held_out
            return
        recorded = ClipSequences(
            heads, count, self.length, self.size, self.seed, True, self.max_stride, self.max_stretch, self.by_length
        )
        photos = self._photo_scenes(heads, count, self.seed)
        self.train_set = MixedSequences([synthetic, photos, recorded], self.shares, count, self.seed)
        held_out_clips = ClipSequences(
            tails, self.validation_count, self.length, self.size, VALIDATION_SEED, augment=False
        )
        held_out_photos = self._photo_scenes(tails, self.validation_count, VALIDATION_SEED + self.seed)
        held_out_scenes = [held_out, held_out_photos] if self.shares[1] else [held_out]
        self.validation_set = ConcatDataset([*held_out_scenes, held_out_clips])

    def _split_clips(self) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
        """What is trained on and what is validated on, as arrays (N, H, W, C), RGB or grey."""
        missing = [str(path) for path in self.clip_paths if not path.exists()]
        if missing:
            raise MediaError(f"training clips not found: {', '.join(missing)}; set --data.root to their folder")
        clips = [load_clip(path, self.max_width, self.channels) for path in self.clip_paths]
        span = self.length * self.max_stride + 1
        for path, clip in zip(self.clip_paths, clips, strict=True):
            if len(clip) < 2 * span:
                raise MediaError(f"{path}: {len(clip)} frames are too few; these sequences need {2 * span}")
        splits = [len(clip) - max(len(clip) // 10, span) for clip in clips]
        heads = [clip[:split] for clip, split in zip(clips, splits, strict=True)]
        tails = [clip[split:] for clip, split in zip(clips, splits, strict=True)]
        return heads, tails

    def _photo_scenes(self, clips: Sequence[NDArray[np.uint8]], count: int, seed: int) -> PhotoScenes:
        step = max(_PHOTO_STEP, -(-sum(map(len, clips)) // _MOST_PHOTOS))
        photos = [no_wider(np.asarray(frame), _PHOTO_WIDTH) for clip in clips for frame in clip[::step]]
        return PhotoScenes(photos, count, self.length, self.size, self.max_photo_speed, seed)


class MovingMnistData(SequenceModule):
    """Moving MNIST (arXiv 1511.06309, section 4), drawn on the device that trains.

    mnist: folder of MNIST's IDX files; None takes scikit-learn's digits. test_file: mnist_test_seq.npy, to validate on
    it instead of sequences made here. size: side of the frames in pixels. length: frames seen. digits: 1 to 4 in a
    frame. min_speed, max_speed: in pixels per frame. lines: a vertical and a horizontal fixed line. binary: frames of 0
    and 1, else grey. train_count: different training sequences, an epoch; None never shows one twice, and an epoch is
    10,000. validation_count: of sequences with digits never trained on. batch_size: sequences per step, on each
    device. seed: of all sampling.
    """

    def __init__(
        self,
        mnist: str | None = None,
        test_file: str | None = None,
        size: int = 64,
        length: int = 10,
        digits: int = 2,
        min_speed: float = 2.0,
        max_speed: float = 5.0,
        lines: bool = False,
        binary: bool = True,
        train_count: int | None = 10_000,
        validation_count: int = 3_000,
        batch_size: int = 8,
        num_workers: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers)
        self.mnist, self.test_file, self.size, self.length, self.digits = mnist, test_file, size, length, digits
        self.min_speed, self.max_speed, self.lines, self.binary = min_speed, max_speed, lines, binary
        self.train_count, self.wrap = train_count, train_count
        self.validation_count, self.seed = validation_count, seed

    def setup(self, stage: str) -> None:
        """Read the digits. Raises DigitsError for files that are missing or damaged."""
        if self.train_set is not None:
            return
        if self.mnist is None:
            rank_zero_info("no MNIST folder given (--data.mnist): training on scikit-learn's 1,797 handwritten digits")
        self.train_set = self._sequences("train", self.train_count or _EPOCH, self.seed)
        if self.test_file is not None:
            self.validation_set = MovingMnistFile(self.test_file, self.length, self.binary)
        else:
            self.validation_set = self._sequences("validation", self.validation_count, VALIDATION_SEED + self.seed)

    @property
    def steps_per_epoch(self) -> int:  # type: ignore[override]
        """Those that show every training sequence once."""
        assert self.trainer is not None
        return max((self.train_count or _EPOCH) // (self.batch_size * self.trainer.world_size), 1)

    def on_after_batch_transfer(self, batch: Item, dataloader_idx: int) -> Item:
        """Draw the frames, on the device."""
        return render(batch, self.size, self.binary) if "sprites" in batch else batch

    def _sequences(self, split: Split, count: int, seed: int) -> MovingMnist:
        digits = load_digits(self.mnist, split)
        return MovingMnist(
            digits, count, self.length, self.size, self.digits, self.min_speed, self.max_speed, self.lines, seed
        )
