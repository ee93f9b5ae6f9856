"""A segmenter beside the stream: it labels every n-th frame of each camera, in pieces, in idle time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stvae_ros.checkpoint import Checkpoint
from stvae_ros.nn.interface import State
from stvae_ros.nn.segmentation.interface import Segmenter, StagedStep, to_labels
from stvae_ros.runtime.device import DTYPES, cast_weights, resolve_device, resolve_precision
from stvae_ros.streaming.flow import Image
from stvae_ros.streaming.predictor import Frame


class FrameLabels(NamedTuple):
    """Labels of a frame: class ids (h, w) uint8 at processing size, and the stamp of the frame in nanoseconds."""

    camera: str
    stamp: int
    labels: NDArray[np.uint8]


@dataclass
class _Job:
    camera: str
    stamp: int
    step: StagedStep


class StreamingSegmenter:
    """Owns a segmenter, its device, and one memory for each camera. All calls come from one thread.

    Args:
        segmenter: the network.
        device: auto, cpu or cuda:N.
        precision: auto, fp32, bf16 or fp16.
        processing_size: width and height in pixels to which frames are scaled.
        every: label every n-th frame of each camera.

    Raises:
        ValueError: a device, precision or size cannot be used.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        device: str = "auto",
        precision: str = "auto",
        processing_size: tuple[int, int] = (240, 180),
        every: int = 1,
    ) -> None:
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.processing_size, self.every = processing_size, every
        segmenter.check_size(processing_size[1], processing_size[0])
        self._segmenter = cast_weights(segmenter.eval().to(self.device), DTYPES[self.precision])
        self._segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._states: dict[str, State] = {}
        self._seen: dict[str, int] = {}
        self._waiting: dict[str, Frame] = {}
        self._job: _Job | None = None

    @classmethod
    def from_weights(cls, checkpoint: Checkpoint, **options: object) -> StreamingSegmenter:
        """Make it of a checkpoint, at the processing size that the checkpoint was made for.

        Args:
            checkpoint: of a segmenter.
            options: arguments of the constructor.

        Raises:
            CheckpointError: the checkpoint is not one of a segmenter, or damaged.
            ValueError: a device, precision or size cannot be used.
        """
        size = checkpoint.processing_size
        return cls(checkpoint.segmenter(), **{"processing_size": size, **options})  # type: ignore[arg-type]

    @property
    def busy(self) -> bool:
        """Whether a frame waits or is being labelled."""
        return self._job is not None or bool(self._waiting)

    def reset(self, camera: str) -> None:
        """Forget a camera, because its stream starts anew."""
        for memory in (self._states, self._seen, self._waiting):
            memory.pop(camera, None)
        if self._job is not None and self._job.camera == camera:
            self._job = None

    def clear(self) -> None:
        """Forget all cameras."""
        for camera in list(self._seen):
            self.reset(camera)

    def take(self, frames: Mapping[str, Frame]) -> None:
        """Take the next frame of some cameras. Every n-th frame of a camera waits, and replaces an older one."""
        for camera, frame in frames.items():
            count = self._seen.get(camera, 0)
            self._seen[camera] = count + 1
            if count % self.every == 0:
                self._waiting.pop(camera, None)  # It waits behind the other cameras.
                self._waiting[camera] = frame

    @torch.inference_mode()
    def work(self) -> FrameLabels | None:
        """Do one piece of work, which takes some milliseconds. Returns the labels when a frame is finished."""
        if self._job is None:
            if not self._waiting:
                return None
            camera = next(iter(self._waiting))
            frame = self._waiting.pop(camera)
            self._job = _Job(camera, frame.stamp, self._begin(camera, frame.image))
        job = self._job
        try:
            with torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.precision != "fp32"):
                next(job.step)
        except StopIteration as end:
            self._job = None
            segmentation, self._states[job.camera] = end.value
            labels = to_labels(segmentation.scores)[0].to(torch.uint8).cpu().numpy()
            return FrameLabels(job.camera, job.stamp, labels)
        except BaseException:
            self._job = None
            raise
        return None

    def label(self, frame: Frame, camera: str = "") -> NDArray[np.uint8]:
        """Label the next frame of a camera at once. Returns class ids (h, w) uint8 at processing size."""
        self._waiting[camera] = frame
        while True:
            found = self.work()
            if found is not None and (found.camera, found.stamp) == (camera, frame.stamp):
                return found.labels

    def _begin(self, camera: str, image: Image) -> StagedStep:
        width, height = self.processing_size
        if image.shape[1::-1] != self.processing_size:
            image = cv2.resize(image, self.processing_size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
        pixels = torch.from_numpy(rgb).to(self.device).permute(2, 0, 1)[None].float() / 255
        if camera not in self._states:
            self._states[camera] = self._segmenter.initial_state(1, height, width)
        return self._segmenter.staged_step(pixels, self._states[camera])
