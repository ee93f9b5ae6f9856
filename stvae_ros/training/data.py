"""Lightning data module: synthetic scenes and recorded clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import lightning.pytorch as pl
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler

from stvae_ros.data.media import MediaError
from stvae_ros.data.sequences import ClipSequences, Item, MixedSequences, SyntheticSequences, load_clip

_VALIDATION_SEED = 1_000_003


class _ResumableSampler(Sampler[int]):
    """Counts upwards for ever: an epoch starts at the sample that follows the last one trained on."""

    def __init__(self, start: Callable[[], int], count: int) -> None:
        self.start, self.count = start, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        start = self.start()
        return iter(range(start, start + self.count))


class SequenceData(pl.LightningDataModule):
    """Sequences for training and validation.

    clips: video files or folders of images, relative to ``root`` (by default the working directory).
    synthetic_share: probability that a sequence is a synthetic scene; 1 without clips.
    size: side of the square crops in pixels. length: frames seen per sequence. channels: 1 or 3.
    max_speed: of synthetic objects in pixels per frame. max_width: clips are scaled down to this width.
    batch_size: sequences per step. steps_per_epoch: optimizer steps per epoch. seed: of all sampling.
    validation_count: sequences of each kind in the validation set, drawn from scenes of another seed and from
    the last tenth of each clip (at least one sequence), which is never trained on.
    """

    def __init__(
        self,
        clips: list[str] = [],  # noqa: B006
        root: str | None = None,
        synthetic_share: float = 0.5,
        size: int = 64,
        length: int = 8,
        channels: int = 1,
        max_speed: float = 4.0,
        max_width: int = 320,
        batch_size: int = 8,
        steps_per_epoch: int = 50,
        validation_count: int = 16,
        num_workers: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.clip_paths = [Path(root or ".") / clip for clip in clips]
        self.synthetic_share, self.size, self.length, self.channels = synthetic_share, size, length, channels
        self.max_speed, self.max_width = max_speed, max_width
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.validation_count, self.num_workers, self.seed = validation_count, num_workers, seed
        self.train_set: Dataset[Item] | None = None
        self.validation_set: Dataset[Item] | None = None

    def setup(self, stage: str) -> None:
        """Decode the clips and build both sets. Raises MediaError for a clip that is missing or unreadable."""
        if self.train_set is not None:
            return
        missing = [str(path) for path in self.clip_paths if not path.exists()]
        if missing:
            raise MediaError(f"training clips not found: {', '.join(missing)}; set --data.root to their folder")
        count = self.steps_per_epoch * self.batch_size
        synthetic = SyntheticSequences(count, self.length, self.size, self.channels, self.max_speed, self.seed)
        held_out = SyntheticSequences(
            self.validation_count, self.length, self.size, self.channels, self.max_speed, _VALIDATION_SEED + self.seed
        )
        if not self.clip_paths:
            self.train_set, self.validation_set = synthetic, held_out
            return
        clips = [load_clip(path, self.max_width, self.channels) for path in self.clip_paths]
        needed = 2 * (self.length + 1)
        for path, clip in zip(self.clip_paths, clips, strict=True):
            if len(clip) < needed:
                raise MediaError(f"{path}: {len(clip)} frames are too few; sequences of {self.length} need {needed}")
        splits = [len(clip) - max(len(clip) // 10, self.length + 1) for clip in clips]
        heads = [clip[:split] for clip, split in zip(clips, splits, strict=True)]
        tails = [clip[split:] for clip, split in zip(clips, splits, strict=True)]
        recorded = ClipSequences(heads, count, self.length, self.size, self.seed, augment=True)
        self.train_set = MixedSequences(synthetic, recorded, self.synthetic_share, count, self.seed)
        held_out_clips = ClipSequences(
            tails, self.validation_count, self.length, self.size, _VALIDATION_SEED, augment=False
        )
        self.validation_set = ConcatDataset([held_out, held_out_clips])

    def train_dataloader(self) -> DataLoader[Item]:
        """Batches that go on where the last checkpoint stopped: sample n is the same in every run."""
        assert self.train_set is not None
        sampler = _ResumableSampler(self._samples_seen, self.steps_per_epoch * self.batch_size)
        return DataLoader(self.train_set, self.batch_size, sampler=sampler, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[Item]:
        """The fixed validation sequences."""
        assert self.validation_set is not None
        return DataLoader(self.validation_set, self.batch_size, num_workers=self.num_workers)

    def _samples_seen(self) -> int:
        assert self.trainer is not None
        return self.trainer.global_step * self.batch_size
