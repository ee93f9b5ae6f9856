"""Lightning data module for camera topics of rosbags; no labels are needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from rich.console import Console
from rich.progress import Progress

from stvae_ros.data.bags.bag import Bag, BagError
from stvae_ros.data.bags.clips import BagClip, load_bag_clip
from stvae_ros.files import cache_folder
from stvae_ros.training.data import Clip, SequenceData


class BagData(SequenceData):
    """Crops of camera topics of rosbags, beside the kinds of `SequenceData`.

    A sequence never contains a place where frames are missing.

    Args:
        bags: folders of rosbags, or .mcap and .db3 files.
        topics: camera topics. A bag needs at least one of them. All camera topics by default.
        until: share of each bag's time that is used, from its start. The rest stays unseen, for evaluation.
        validation_share: last share of the used time, for validation.
        gap: seconds that are left out between training and validation, because neighbouring frames are alike.
        significant_bits: number of bits that 16-bit images use, see `BitDepth`.
        cache: folder of decoded frames, which other runs reuse. By default ``bags`` in STVAE_ROS_CACHE, or in
            ``~/.cache/stvae_ros``.
        sequences: arguments of `SequenceData`.
    """

    by_length = True

    def __init__(
        self,
        bags: list[str],
        topics: list[str] = [],  # noqa: B006
        until: float = 1.0,
        validation_share: float = 0.1,
        gap: float = 2.0,
        significant_bits: int = 16,
        cache: str | None = None,
        **sequences: Any,
    ) -> None:
        super().__init__(**sequences)
        if not bags:
            raise ValueError("no bags to train on: give --data.bags")
        if not 0 < until <= 1 or not 0 < validation_share < 1 or gap < 0:
            raise ValueError(
                f"until = {until} must be in (0, 1], validation_share = {validation_share} in (0, 1), and gap = {gap} "
                "not negative"
            )
        self.bags, self.topics = bags, topics
        self.until, self.validation_share, self.gap = until, validation_share, gap
        self.significant_bits = significant_bits
        self.cache = Path(cache) if cache is not None else cache_folder() / "bags"

    @property
    def input_metadata(self) -> dict[str, str]:
        """Metadata of the checkpoint: frames shall have the size of the crops."""
        return {"processing_size": json.dumps([self.size[1], self.size[0]])}

    def prepare_data(self) -> None:
        """Decode the bags into the cache, in the first process only.

        Raises:
            BagError: a bag cannot be read or has no camera.
        """
        with Progress(console=Console(stderr=True), transient=True) as progress:
            for path, topic in self._cameras():
                task = progress.add_task(f"decoding {path} {topic}", total=1.0)
                clip = self._load(path, topic, lambda share, task=task: progress.update(task, completed=share))
                progress.remove_task(task)
                for problem in clip.problems:
                    rank_zero_warn(problem, category=UserWarning)

    def _split_clips(self) -> tuple[list[Clip], list[Clip]]:
        heads, tails = super()._split_clips()
        validation_start = self.until * (1 - self.validation_share)
        head_span, tail_span = self.length * self.max_stride + 1, self.length + 1
        for path, topic in self._cameras():
            clip = self._load(path, topic)
            gap = self.gap * 1e9 / max(clip.end - clip.start, 1)
            head = clip.runs(0.0, validation_start - gap, head_span)
            tail = clip.runs(validation_start, self.until, tail_span)
            if not head or not tail:
                what, span = ("validate", tail_span) if head else ("train", head_span)
                raise BagError(
                    f"{path}: topic {topic}: too few frames without a break to {what} on: with until = {self.until}, "
                    f"validation_share = {self.validation_share} and gap = {self.gap} there is no run of {span} "
                    "frames; give a longer bag, or change these options"
                )
            trained, validated = sum(map(len, head)), sum(map(len, tail))
            rank_zero_info(f"{path} {topic}: {trained} frames for training, {validated} for validation")
            heads += head
            tails += tail
        return heads, tails

    def _cameras(self) -> list[tuple[str, str]]:
        """(bag, topic) of all cameras."""
        cameras = []
        for path in self.bags:
            bag = Bag(path)
            topics = [topic for topic in self.topics if topic in bag.topics] if self.topics else bag.cameras()
            left_out = [f"{name}: {reason}" for name, reason in sorted(bag.no_cameras.items())]
            if not topics:
                raise BagError(
                    f"{path}: no camera to train on; topics of the bag: {', '.join(sorted(bag.topics))}; "
                    f"give --data.topics{''.join(f'; left out is {each}' for each in left_out)}"
                )
            for each in left_out:
                rank_zero_info(f"{path}: left out is {each}")
            cameras += [(path, topic) for topic in topics]
        return cameras

    def _load(self, path: str, topic: str, progress: Any = lambda share: None) -> BagClip:
        form = self.size, self.max_width, self.channels
        return load_bag_clip(path, topic, *form, self.cache, progress, self.significant_bits)
