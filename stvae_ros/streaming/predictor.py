"""Streaming prediction for any number of cameras with one network."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from stvae_ros import zoo
from stvae_ros.nn.interface import FramePredictor, State
from stvae_ros.streaming.device import DTYPES, resolve_device, resolve_precision
from stvae_ros.streaming.flow import Flow, Image
from stvae_ros.streaming.motion import Motion, View

_DEFAULT_PERIOD = 33_333_333
_PERIODS_REMEMBERED = 9


class FrameError(ValueError):
    """A frame that cannot be processed; the message says why. The camera's memory is untouched."""


class Frame(NamedTuple):
    """A camera image, (H, W) grey or (H, W, 3) BGR uint8, and its time stamp in nanoseconds.

    The image is kept, not copied, until the next frame: do not write into it.
    """

    image: Image
    stamp: int


@dataclass
class _Memory:
    """What is kept for one camera between frames."""

    state: State
    shape: tuple[int, ...]
    view: View
    stamp: int


@dataclass
class _Clock:
    """Time between the frames of one camera; survives resets, since the camera stays the same."""

    periods: deque[int] = field(default_factory=lambda: deque(maxlen=_PERIODS_REMEMBERED))

    @property
    def period(self) -> int:
        return int(median(self.periods)) if self.periods else _DEFAULT_PERIOD


class StreamingPredictor:
    """Owns device, precision and one memory a camera; batches the cameras that have a new frame.

    Rules of time, each for the camera concerned and no other: a stamp that goes back, a gap longer than
    ``max_gap``, a change of image size or number of channels, or `reset` empty the memory; a frame with the
    stamp of the last one is dropped. Not thread-safe: all calls come from one thread.
    """

    def __init__(
        self,
        network: FramePredictor,
        device: str = "auto",
        precision: str = "auto",
        processing_size: tuple[int, int] = (160, 120),
        max_gap: float = 1.0,
    ) -> None:
        """
        network: see `stvae_ros.zoo`. device: auto, cpu or cuda:N. precision: auto, fp32, bf16 or fp16.
        processing_size: (width, height) in pixels to which frames are scaled for the network.
        max_gap: in seconds. Raises ValueError for a device, precision or size that cannot be used.
        """
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.processing_size = processing_size
        self.max_gap = max_gap
        network.check_size(processing_size[1], processing_size[0])
        self.network_seconds = 0.0
        """Time that the network took in the last `step`, results on the host, without scaling the frames."""
        self._network = network.eval().to(self.device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._memories: dict[str, _Memory] = {}
        self._clocks: dict[str, _Clock] = {}
        self._reset_reasons: dict[str, str] = {}

    @classmethod
    def from_weights(cls, path: str | Path, **options: object) -> StreamingPredictor:
        """Load a weights file; ``options`` are those of the constructor. Raises WeightsError and ValueError."""
        return cls(zoo.load(path), **options)  # type: ignore[arg-type]

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that have a memory now."""
        return tuple(self._memories)

    def warm_up(self) -> None:
        """Run one step on a black frame, so that the first real frame does not wait for memory and kernels."""
        width, height = self.processing_size
        self._infer({"": Frame(np.zeros((height, width), np.uint8), 0)})

    def reset(self, camera: str | None = None, reason: str = "requested") -> None:
        """Empty the memory of one camera, or of all; the next `Motion` gives ``reason``."""
        for name in [camera] if camera is not None else list(self._memories):
            if self._memories.pop(name, None) is not None:
                self._reset_reasons[name] = reason

    def step(self, frames: Mapping[str, Frame]) -> dict[str, Motion | None]:
        """Take one new frame from each of some cameras.

        Returns the motion for each, None where the frame was dropped because its stamp is that of the last one.
        Raises FrameError, before anything is changed, for an image of the wrong type or shape.
        """
        for name, frame in frames.items():
            _check_image(name, frame.image)
        results: dict[str, Motion | None] = dict.fromkeys(frames)
        fresh = {name: frame for name, frame in frames.items() if not self._is_repeated(name, frame)}
        if not fresh:
            return results
        for name, frame in fresh.items():
            self._apply_time_rules(name, frame)
        decoded, flows, states = self._infer(fresh)
        for index, (name, frame) in enumerate(fresh.items()):
            memory = self._memories.get(name)
            view = View(frame.image, decoded[index], flows[index])
            results[name] = Motion(
                stamp=frame.stamp,
                period=self._clocks.setdefault(name, _Clock()).period,
                reset=None if memory else self._reset_reasons.pop(name, "first frame"),
                view=view,
                previous=memory.view if memory else None,
            )
            self._memories[name] = _Memory(states[index], frame.image.shape, view, frame.stamp)
        return results

    def _is_repeated(self, name: str, frame: Frame) -> bool:
        memory = self._memories.get(name)
        return memory is not None and memory.stamp == frame.stamp

    def _apply_time_rules(self, name: str, frame: Frame) -> None:
        memory = self._memories.get(name)
        if memory is None:
            return
        elapsed = frame.stamp - memory.stamp
        if elapsed < 0:
            self.reset(name, "time jumped back")
        elif elapsed > self.max_gap * 1e9:
            self.reset(name, "gap")
        else:
            self._clocks.setdefault(name, _Clock()).periods.append(elapsed)
            if memory.shape != frame.image.shape:
                self.reset(name, "resolution changed")

    @torch.inference_mode()
    def _infer(self, frames: Mapping[str, Frame]) -> tuple[Tensor, list[Flow | None], list[State]]:
        """One batched step: decoded frames (B, C, h, w), backward flows (h, w, 2) or None, and new states."""
        width, height = self.processing_size
        batch = torch.from_numpy(np.stack([self._prepare(frame.image) for frame in frames.values()]))
        inputs = batch.to(self.device).permute(0, 3, 1, 2).float() / 255
        states = [
            self._memories[name].state if name in self._memories else self._network.initial_state(1, height, width)
            for name in frames
        ]
        state = states[0] if len(states) == 1 else tuple(torch.cat(parts) for parts in zip(*states, strict=True))
        dtype = DTYPES[self.precision]
        start = time.perf_counter()
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            prediction, state = self._network.step(inputs, state)
        flows: list[Flow | None] = [None] * len(frames)
        if prediction.flow is not None:
            flows = list(prediction.flow.float().permute(0, 2, 3, 1).contiguous().cpu().numpy())
        self.network_seconds = time.perf_counter() - start
        states = [tuple(part[i : i + 1] for part in state) for i in range(len(frames))]
        return prediction.frame, flows, states

    def _prepare(self, image: Image) -> Image:
        """Scale to the processing size and convert to the network's channels, (h, w, C)."""
        # Grey first: one channel to scale instead of three.
        if self._network.in_channels == 1 and image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
        if image.shape[1::-1] != self.processing_size:
            image = cv2.resize(image, self.processing_size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        if self._network.in_channels == 1:
            return image[..., None]
        code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
        return cv2.cvtColor(image, code).astype(np.uint8, copy=False)


def _check_image(name: str, image: Image) -> None:
    if image.dtype != np.uint8:
        raise FrameError(f"camera {name!r}: the image has type {image.dtype}; convert it to uint8")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise FrameError(f"camera {name!r}: the image has shape {image.shape}; expected (H, W) or (H, W, 3)")
