"""Lightning data modules: synthetic scenes with video clips, and Moving MNIST."""

from __future__ import annotations

from abc import abstractmethod
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
from stvae_ros.data.scenes.scene3d_sequences import Scene3DSequences
from stvae_ros.data.sequences import ClipSequences, Item, MixedSequences, Size, SyntheticSequences, load_clip, no_wider

Clip = NDArray[np.uint8]
"""Images (N, H, W, C)."""

VALIDATION_SEED = 1_000_003
_MNIST_EPOCH = 10_000
"""Training sequences of the paper."""
_PHOTO_STEP, _MAX_PHOTOS = 5, 1000
"""Every n-th frame of a clip becomes a photograph. The step grows if there are more photographs than the maximum."""
_PHOTO_WIDTH = 640
"""Width in pixels to which wider photographs are scaled down."""


class ResumableSampler(Sampler[int]):
    """Yields consecutive indices; an epoch starts after the last batch of the trainer's optimizer steps.

    The position follows from the number of optimizer steps, so a resumed run continues exactly, also with another
    number of workers. Several processes share one large batch: n processes train like one with n times the batch.

    Args:
        module: data module, which knows the trainer.
        steps: batches in an epoch.
        batch_size: sequences in a batch of one process.
        wrap: number of samples after which the indices start again at 0, or None.
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
    """Base of the data modules: a training set with reproducible samples and a fixed validation set.

    Subclasses build both sets in `make_sets`.
    """

    steps_per_epoch: int
    """Optimizer steps in an epoch."""
    wrap: int | None = None
    """Number of different training samples, or None if no sample comes twice."""

    def __init__(self, batch_size: int, num_workers: int) -> None:
        super().__init__()
        self.batch_size, self.num_workers = batch_size, num_workers
        self.train_set: Dataset[Item] | None = None
        self.validation_set: Dataset[Item] | None = None

    @abstractmethod
    def make_sets(self) -> tuple[Dataset[Item], Dataset[Item]]:
        """Read the data; return the training set and the validation set."""

    def setup(self, stage: str) -> None:
        """Build both sets once; the errors are those of `make_sets`."""
        if self.train_set is None:
            # OpenCV threads in the workers would slow the training down. After the fork this call would hang.
            cv2.setNumThreads(1)
            self.train_set, self.validation_set = self.make_sets()

    def train_dataloader(self) -> DataLoader[Item]:
        """Return batches that continue where the last checkpoint stopped."""
        assert self.train_set is not None
        return self._loader(self.train_set, ResumableSampler(self, self.steps_per_epoch, self.batch_size, self.wrap))

    def val_dataloader(self) -> DataLoader[Item]:
        """Return the validation sequences."""
        assert self.validation_set is not None
        return self._loader(self.validation_set)

    def _loader(self, dataset: Dataset[Item], sampler: Sampler[int] | None = None) -> DataLoader[Item]:
        # Workers start once, before the first step. A worker that starts later copies the memory of the training.
        workers = self.num_workers
        return DataLoader(
            dataset, self.batch_size, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
        )


class SequenceData(SequenceModule):
    """Crops of video clips, synthetic scenes, scenes made of photographs, and 3-D scenes.

    Each training sequence is of one kind, drawn at random. The last tenth of each clip, at least one sequence, is held
    out for validation.

    Args:
        clips: video files or folders of images, relative to ``root``.
        root: folder of the clips; the working directory by default.
        synthetic_share: probability of a synthetic scene; 1 without clips.
        photo_share: probability of a scene made of photographs, which are frames of the clips. Needs channels = 3.
        scene3d_share: probability of a 3-D scene, whose textures are frames of the clips, photographs that scikit-image
            and scikit-learn bring along, and noise.
        size: (height, width) of the crops in pixels, or the side of square crops.
        length: frames that the network sees in a sequence.
        channels: 1 for grey, 3 for RGB.
        max_speed: largest speed of synthetic objects in pixels per frame.
        max_photo_speed: largest speed of photographs in pixels per frame.
        max_stride: see `ClipSequences`.
        max_stretch: see `ClipSequences`.
        max_width: width in pixels to which wider clips are scaled down.
        batch_size: sequences per step and process.
        steps_per_epoch: optimizer steps in an epoch.
        validation_count: validation sequences of each kind.
        num_workers: processes that make sequences.
        seed: seed of all sampling.
    """

    by_length = False
    """Whether a longer clip is sampled more often."""

    def __init__(
        self,
        clips: list[str] = [],  # noqa: B006
        root: str | None = None,
        synthetic_share: float = 0.5,
        photo_share: float = 0.0,
        scene3d_share: float = 0.0,
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
        if photo_share and channels != 3:
            raise ValueError("photo_share needs channels = 3")
        self.clip_paths = [Path(root or ".") / clip for clip in clips]
        self.synthetic_share, self.photo_share, self.scene3d_share = synthetic_share, photo_share, scene3d_share
        self.size: Size = (size, size) if isinstance(size, int) else size
        self.length, self.channels = length, channels
        self.max_speed, self.max_photo_speed = max_speed, max_photo_speed
        self.max_stride, self.max_stretch, self.max_width = max_stride, max_stretch, max_width
        self.steps_per_epoch, self.validation_count, self.seed = steps_per_epoch, validation_count, seed

    def make_sets(self) -> tuple[Dataset[Item], Dataset[Item]]:
        """Decode the clips and build both sets.

        Raises:
            MediaError: a clip is missing, unreadable or too short, or photographs are asked for without clips.
        """
        heads, tails = self._split_clips()
        if self.photo_share and not heads:
            raise MediaError("photo_share needs clips to take photographs from")
        count, stride, stretch = self.steps_per_epoch * self.batch_size, self.max_stride, self.max_stretch
        train, shares = self._scenes(heads, count, self.seed), [self.synthetic_share]
        validation = self._scenes(tails, self.validation_count, VALIDATION_SEED + self.seed)
        if self.photo_share:
            shares.append(self.photo_share)
        if self.scene3d_share:
            shares.append(self.scene3d_share)
        if heads:
            shares.append(1 - sum(shares))
            train.append(
                ClipSequences(heads, count, self.length, self.size, self.seed, True, stride, stretch, self.by_length)
            )
            validation.append(
                ClipSequences(tails, self.validation_count, self.length, self.size, VALIDATION_SEED, augment=False)
            )
        return MixedSequences(train, shares, count, self.seed), ConcatDataset(validation)

    def _split_clips(self) -> tuple[list[Clip], list[Clip]]:
        """Decode the clips; return the parts for training and for validation."""
        missing = [str(path) for path in self.clip_paths if not path.exists()]
        if missing:
            raise MediaError(f"training clips not found: {', '.join(missing)}; set --data.root to their folder")
        span = self.length * self.max_stride + 1
        clips = [load_clip(path, self.max_width, self.channels) for path in self.clip_paths]
        parts = [split_off_tail(clip, span, path) for path, clip in zip(self.clip_paths, clips, strict=True)]
        return [head for head, _ in parts], [tail for _, tail in parts]

    def _scenes(self, clips: Sequence[Clip], count: int, seed: int) -> list[Dataset[Item]]:
        """Synthetic scenes and, where wanted, scenes made of photographs and 3-D scenes."""
        sets: list[Dataset[Item]] = [
            SyntheticSequences(count, self.length, self.size, self.channels, self.max_speed, seed)
        ]
        if not (self.photo_share or self.scene3d_share):
            return sets
        step = max(_PHOTO_STEP, -(-sum(map(len, clips)) // _MAX_PHOTOS))
        photos = [no_wider(np.asarray(frame), _PHOTO_WIDTH) for clip in clips for frame in clip[::step]]
        if self.photo_share:
            sets.append(PhotoScenes(photos, count, self.length, self.size, self.max_photo_speed, seed))
        if self.scene3d_share:
            colored = [photo[..., ::-1] if self.channels == 3 else np.repeat(photo, 3, axis=2) for photo in photos]
            sets.append(Scene3DSequences(colored, count, self.length, self.size, self.channels, seed))
        return sets


class MovingMnistData(SequenceModule):
    """Moving MNIST (arXiv 1511.06309, section 4), rendered on the device that trains.

    Args:
        mnist: folder of MNIST's IDX files. None uses the digits of scikit-learn.
        test_file: the public ``mnist_test_seq.npy``, as validation set instead of sequences made here.
        size: side of the frames in pixels.
        length: frames that the network sees in a sequence.
        digits: digits in a frame, 1 to 4.
        min_speed: smallest speed in pixels per frame.
        max_speed: largest speed in pixels per frame.
        lines: whether a vertical and a horizontal fixed line are added.
        binary: whether frames hold 0 and 1 only; grey otherwise.
        train_count: number of different training sequences, which make an epoch. With None no sequence comes twice, and
            an epoch has 10,000.
        validation_count: number of validation sequences, with digits that are never trained on.
        batch_size: sequences per step and process.
        num_workers: processes that make sequences.
        seed: seed of all sampling.
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
        train_count: int | None = _MNIST_EPOCH,
        validation_count: int = 3_000,
        batch_size: int = 8,
        num_workers: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers)
        self.mnist, self.test_file, self.size, self.length, self.digits = mnist, test_file, size, length, digits
        self.min_speed, self.max_speed, self.lines, self.binary = min_speed, max_speed, lines, binary
        self.wrap, self.validation_count, self.seed = train_count, validation_count, seed

    def make_sets(self) -> tuple[Dataset[Item], Dataset[Item]]:
        """Read the digits and build both sets.

        Raises:
            DigitsError: a file is missing or damaged.
        """
        if self.mnist is None:
            rank_zero_info("no MNIST folder given (--data.mnist): training on scikit-learn's 1,797 handwritten digits")
        train = self._sequences("train", self.wrap or _MNIST_EPOCH, self.seed)
        if self.test_file is not None:
            return train, MovingMnistFile(self.test_file, self.length, self.binary)
        return train, self._sequences("validation", self.validation_count, VALIDATION_SEED + self.seed)

    @property
    def steps_per_epoch(self) -> int:  # type: ignore[override]
        """Steps that show every training sequence once."""
        assert self.trainer is not None
        return max((self.wrap or _MNIST_EPOCH) // (self.batch_size * self.trainer.world_size), 1)

    def on_after_batch_transfer(self, batch: Item, dataloader_idx: int) -> Item:
        """Render the frames on the device."""
        return render(batch, self.size, self.binary) if "sprites" in batch else batch

    def _sequences(self, split: Split, count: int, seed: int) -> MovingMnist:
        digits = load_digits(self.mnist, split)
        return MovingMnist(
            digits, count, self.length, self.size, self.digits, self.min_speed, self.max_speed, self.lines, seed
        )


def split_off_tail(clip: Clip, span: int, path: Path) -> tuple[Clip, Clip]:
    """Split a clip into a part for training and its last tenth, at least ``span`` images, for validation.

    Args:
        clip: images (N, H, W, C).
        span: images that a training sequence needs.
        path: file of the clip, for the error message.

    Raises:
        MediaError: one part would be shorter than ``span``.
    """
    if len(clip) < 2 * span:
        raise MediaError(f"{path}: {len(clip)} images are too few; these sequences need {2 * span}")
    split = len(clip) - max(len(clip) // 10, span)
    return clip[:split], clip[split:]
