"""Lightning data module over camera topics of rosbags: a team trains on its own recordings, without labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from stvae_ros.data.bags.bag import Bag, BagError
from stvae_ros.data.bags.clips import BagClip, load_bag_clip
from stvae_ros.files import cache_folder
from stvae_ros.training.data import SequenceData


class BagData(SequenceData):
    """Sequences of camera topics of bags, beside those of `SequenceData`, whose options these follow.

    bags: folders, or .mcap and .db3 files. topics: cameras to take of each bag that has them; by default all. until:
    part of each bag's time that is used, from its start; what comes after is never looked at, so that it can be
    evaluated on. validation_share: the last part of that, which is not trained on but validated on. gap: seconds left
    out between the two, since neighbouring frames are alike. cache: folder of decoded frames, which other runs use too;
    None takes ``bags`` in STVAE_ROS_CACHE, by default ``~/.cache/stvae_ros``. A sequence never goes over a place where
    frames are missing.
    """

    def __init__(
        self,
        bags: list[str],
        topics: list[str] = [],  # noqa: B006
        until: float = 1.0,
        validation_share: float = 0.1,
        gap: float = 2.0,
        cache: str | None = None,
        **sequences: Any,
    ) -> None:
        super().__init__(**sequences)
        if not bags:
            raise ValueError("no bags to train on: give --data.bags")
        if not 0 < until <= 1 or not 0 < validation_share < 1 or gap < 0:
            raise ValueError(
                f"until = {until} must be in (0, 1], validation_share = {validation_share} between 0 and 1, and "
                f"gap = {gap} not negative"
            )
        self.bags, self.topics = bags, topics
        self.until, self.validation_share, self.gap = until, validation_share, gap
        self.cache = Path(cache) if cache is not None else cache_folder() / "bags"
        self.by_length = True

    @property
    def input_metadata(self) -> dict[str, str]:
        """What the weights say of their input: frames have the size of the crops that they were trained on."""
        return {"processing_size": json.dumps([self.size[1], self.size[0]])}

    def prepare_data(self) -> None:
        """Decode, in the first process only. Raises BagError."""
        with Progress(console=Console(stderr=True), transient=True) as shown:
            for path, topic in self._cameras():
                task = shown.add_task(f"decoding {path} {topic}", total=1.0)
                clip = self._load(path, topic, lambda share, task=task: shown.update(task, completed=share))
                shown.remove_task(task)
                for problem in clip.problems:
                    rank_zero_warn(problem, category=UserWarning)

    def _split_clips(self) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
        heads, tails = super()._split_clips()
        for path, topic in self._cameras():
            clip = self._load(path, topic)
            trained = self.until * (1 - self.validation_share)
            gap = self.gap * 1e9 / max(clip.end - clip.start, 1)
            head = clip.runs(0.0, trained - gap, self.length * self.max_stride + 1)
            tail = clip.runs(trained, self.until, self.length + 1)
            if not head or not tail:
                what = "train" if not head else "validate"
                raise BagError(
                    f"{path}: topic {topic}: too few frames without a break to {what} on: with until = {self.until}, "
                    f"validation_share = {self.validation_share} and gap = {self.gap} there is no run of "
                    f"{self.length * (1 if head else self.max_stride) + 1} frames; give a longer bag, or change these"
                )
            trained_on, validated_on = sum(map(len, head)), sum(map(len, tail))
            rank_zero_info(f"{path} {topic}: {trained_on} frames to train on, {validated_on} to validate on")
            heads += head
            tails += tail
        return heads, tails

    def _cameras(self) -> list[tuple[str, str]]:
        """(bag, topic) of all cameras. Raises BagError where there is none."""
        cameras = []
        for path in self.bags:
            bag = Bag(path)
            found = [topic for topic in self.topics if topic in bag.topics] if self.topics else bag.cameras()
            if not found:
                raise BagError(
                    f"{path}: no camera to train on; topics of the bag are: {', '.join(sorted(bag.topics))}; "
                    "give --data.topics"
                )
            cameras += [(path, topic) for topic in found]
        return cameras

    def _load(self, path: str, topic: str, progress: Any = lambda share: None) -> BagClip:
        return load_bag_clip(path, topic, self.size, self.max_width, self.channels, self.cache, progress)
