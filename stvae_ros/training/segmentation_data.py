"""Lightning data module of frames with semantic labels."""

from __future__ import annotations

import json
from pathlib import Path

import cv2

from stvae_ros.data.labelled import Labelled, MovingStills, RecordedSequences, read_labelled
from stvae_ros.data.sequences import Size
from stvae_ros.training.data import SequenceModule

_ROOM = 3
"""Halves of the size of a frame that a still has, for the camera to come nearer without loss."""


class LabelledData(SequenceModule):
    """Sequences with labels on their last frame, as CamVid has them; see `MovingStills` and `RecordedSequences`.

    root: folder of the data set. train: folders of frames in it, whose labels are in folders of the same name with
    ``annot`` at the end. validation: the same, of recordings with labels on consecutive frames. exclude: beginnings of
    names of frames never to train on. classes: ids from here on are no labels. size: height and width in pixels.
    length: frames of a sequence. max_speed: of the camera over the stills, in pixels a frame. batch_size: sequences a
    step. steps_per_epoch: optimizer steps in an epoch. validation_step: frames between validation sequences.
    seed: of all sampling.
    """

    def __init__(
        self,
        root: str = ".",
        train: list[str] = ["train", "test"],  # noqa: B006
        validation: list[str] = ["val"],  # noqa: B006
        exclude: list[str] = ["0016E5"],  # noqa: B006
        classes: int = 11,
        size: Size = (180, 240),
        length: int = 6,
        max_speed: float = 6.0,
        batch_size: int = 4,
        steps_per_epoch: int = 50,
        validation_step: int = 2,
        num_workers: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers)
        self.root, self.train_folders, self.validation_folders = Path(root), train, validation
        self.exclude, self.classes, self.size, self.length = exclude, classes, size, length
        self.max_speed, self.steps_per_epoch = max_speed, steps_per_epoch
        self.validation_step, self.seed = validation_step, seed

    @property
    def input_metadata(self) -> dict[str, str]:
        """What the weights say of their input: frames have the size of those trained on."""
        return {"processing_size": json.dumps([self.size[1], self.size[0]])}

    def setup(self, stage: str) -> None:
        """Read all frames. Raises MediaError for folders that are missing, incomplete or damaged."""
        if self.train_set is not None:
            return
        # In the workers OpenCV would take cores from the training; set there, after a fork, this call would hang.
        cv2.setNumThreads(1)
        height, width = self.size
        stills = self._read(self.train_folders, (_ROOM * height // 2, _ROOM * width // 2), self.exclude)
        count = self.steps_per_epoch * self.batch_size
        self.train_set = MovingStills(stills, count, self.length, self.size, self.classes, self.max_speed, self.seed)
        recorded = self._read(self.validation_folders, self.size, [])
        self.validation_set = RecordedSequences(recorded, self.length, self.classes, self.validation_step)

    def _read(self, folders: list[str], size: Size, exclude: list[str]) -> list[Labelled]:
        return [
            frame
            for folder in folders
            for frame in read_labelled(self.root / folder, self.root / f"{folder}annot", size, exclude)
        ]
