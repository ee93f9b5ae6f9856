"""Lightning data module for frames with semantic labels."""

from __future__ import annotations

import json
from pathlib import Path

from torch.utils.data import Dataset

from stvae_ros.data.labelled import Labelled, MovingStills, RecordedSequences, read_labelled
from stvae_ros.data.sequences import Item, Size
from stvae_ros.training.data import SequenceModule

_STILL_SCALE = 1.5
"""Size of a still relative to a frame, so that a virtual camera can zoom in without loss."""


class LabelledData(SequenceModule):
    """Sequences with labels on their last frame, as CamVid has them.

    Training sequences are moving views of single frames (`MovingStills`), validation sequences are recorded
    (`RecordedSequences`).

    Args:
        root: folder of the data set.
        train: folders of frames in ``root``. The folder of the labels has the same name with ``annot`` at the end.
        validation: the same, with labels on consecutive frames.
        exclude: prefixes of the names of frames that are never trained on.
        classes: number of classes; higher ids mean "no label".
        size: (height, width) of the frames in pixels.
        length: frames in a sequence.
        max_speed: largest speed of the virtual camera in pixels per frame.
        batch_size: sequences per step and process.
        steps_per_epoch: optimizer steps in an epoch.
        validation_step: use every n-th validation sequence.
        num_workers: processes that make sequences.
        seed: seed of all sampling.
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
        """Metadata of the checkpoint: frames shall have the size of those trained on."""
        return {"processing_size": json.dumps([self.size[1], self.size[0]])}

    def make_sets(self) -> tuple[Dataset[Item], Dataset[Item]]:
        """Read all frames.

        Raises:
            MediaError: a folder is missing, incomplete or damaged.
        """
        height, width = self.size
        still_size = int(_STILL_SCALE * height), int(_STILL_SCALE * width)
        stills = self._read(self.train_folders, still_size, self.exclude)
        recorded = self._read(self.validation_folders, self.size, [])
        count = self.steps_per_epoch * self.batch_size
        return (
            MovingStills(stills, count, self.length, self.size, self.classes, self.max_speed, self.seed),
            RecordedSequences(recorded, self.length, self.classes, self.validation_step),
        )

    def _read(self, folders: list[str], size: Size, exclude: list[str]) -> list[Labelled]:
        return [
            frame
            for folder in folders
            for frame in read_labelled(self.root / folder, self.root / f"{folder}annot", size, exclude)
        ]
