"""Streaming prediction: one network, any number of cameras, one memory for each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stvae_ros.checkpoint import Checkpoint, open_model
from stvae_ros.nn.interface import FramePredictor, State
from stvae_ros.nn.rollout import rollout
from stvae_ros.runtime.cuda_graph import GraphedNetwork, graphed
from stvae_ros.runtime.device import DTYPES, cast_weights, explain_precision, resolve_device, resolve_precision
from stvae_ros.runtime.onnx_runtime import BACKENDS, OnnxRuntime
from stvae_ros.streaming.flow import Image
from stvae_ros.streaming.host_copy import HostCopy
from stvae_ros.streaming.preprocessor import Preprocessor
from stvae_ros.streaming.step_result import FramePrediction, StepResult

_DEFAULT_PERIOD = 33_333_333
_PERIODS_REMEMBERED = 9
_WARM_UP_STEPS = 2
"""The first step starts from empty memory, the second from the memory of a frame."""


class FrameError(ValueError):
    """A frame that cannot be processed. The message gives the reason. The camera's memory is unchanged."""


class Frame(NamedTuple):
    """A camera image, (H, W) grey or (H, W, 3) BGR uint8, and its stamp in nanoseconds.

    The image is not copied. Do not write into it before the next frame.
    """

    image: Image
    stamp: int


@dataclass
class _Memory:
    """Memory of one camera between frames."""

    state: State
    shape: tuple[int, ...]
    view: FramePrediction
    stamp: int


@dataclass
class _Clock:
    """Frame period of one camera. It survives resets."""

    periods: deque[int] = field(default_factory=lambda: deque(maxlen=_PERIODS_REMEMBERED))

    @property
    def period(self) -> int:
        return int(median(self.periods)) if self.periods else _DEFAULT_PERIOD


class StreamingPredictor:
    """Runs a network for any number of cameras, and keeps one memory for each.

    A camera's memory is emptied by a stamp that goes back, by a gap longer than ``max_gap``, by another image size or
    number of channels, and by `reset`. A frame with the stamp of the last one is dropped. The other cameras are not
    affected. Not thread-safe.

    Args:
        network: see `nn.registry.create`.
        device: auto, cpu or cuda:N.
        precision: auto, fp32, bf16 or fp16.
        processing_size: width and height in pixels to which frames are scaled for the network.
        max_gap: in seconds.
        horizon: number of frames to predict. Each frame beyond the next one costs one more step of the network.
        runtime: runs the network instead of PyTorch, with a device and precision of its own; see `from_weights`.

    Attributes:
        network_seconds: time of the network in the last `step`, until its flow is on the host.
        rollout_seconds: the part of it for frames beyond the next one.
        backend: what runs the network.
        model: name of the architecture, if it came from a file.
        precision_reason: why it has its precision, if it came from a file.

    Raises:
        ValueError: a device, precision, size or horizon cannot be used, or the network takes no images.
    """

    def __init__(
        self,
        network: FramePredictor,
        device: str = "auto",
        precision: str = "auto",
        processing_size: tuple[int, int] = (320, 240),
        max_gap: float = 1.0,
        horizon: int = 1,
        runtime: OnnxRuntime | None = None,
    ) -> None:
        if horizon < 1:
            raise ValueError(f"horizon = {horizon} must be at least 1, the next frame")
        if network.in_channels not in (1, 3):
            raise ValueError(
                f"a network of {network.in_channels} channels takes no images: use it with 'stvae evaluate events', or "
                "train one with data.representation: signed and in_channels: 1"
            )
        self.device = resolve_device(device if runtime is None else "cpu")
        self.precision = resolve_precision(precision, self.device) if runtime is None else runtime.precision
        self.processing_size = processing_size
        self.max_gap = max_gap
        self.horizon = horizon
        try:
            network.check_size(processing_size[1], processing_size[0])
        except ValueError as error:
            raise ValueError(f"processing_size = {list(processing_size)}: {error}") from error
        self.network_seconds = 0.0
        self.rollout_seconds = 0.0
        self.backend = "torch" if runtime is None else f"onnxruntime, {runtime.provider}"
        self.model = ""
        self.precision_reason = ""
        self._runtime = runtime
        self._dtype = DTYPES[self.precision] if runtime is None else torch.float32
        self._network = cast_weights(network.eval().to(self.device), self._dtype)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._prepare = Preprocessor(processing_size, network.in_channels, self.device)
        self._memories: dict[str, _Memory] = {}
        self._clocks: dict[str, _Clock] = {}
        self._reset_reasons: dict[str, str] = {}

    @classmethod
    def from_weights(
        cls,
        model: Checkpoint | str | Path,
        processing_size: tuple[int, int] | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "torch",
        onnx_provider: str = "auto",
        cache_folder: str | Path = "",
        log: Callable[[str], object] = lambda text: None,
        **options: Any,
    ) -> StreamingPredictor:
        """Make a predictor for a checkpoint or an .onnx file.

        Args:
            model: the checkpoint, or the name or path that `checkpoint.find` takes. An .onnx file is always run by
                ONNX Runtime.
            processing_size: width and height in pixels; None for the size that the model was made for.
            device: auto, cpu or cuda:N.
            precision: auto, fp32, bf16 or fp16.
            backend: torch or onnxruntime. ONNX Runtime needs an exported file, which is made in `warm_up` or before
                the first frame.
            onnx_provider: auto, cpu, cuda or tensorrt.
            cache_folder: for exported files and engines; "" for a folder of the user's cache.
            log: called with a line of text before and after work that takes long.
            options: other arguments of the constructor.

        Raises:
            CheckpointError: the model is missing or cannot be used.
            ValueError: a choice is unknown or not possible here.
        """
        if backend not in BACKENDS:
            raise ValueError(f"backend {backend!r} is not one: use {' or '.join(BACKENDS)}")
        opened = model if isinstance(model, Checkpoint) else open_model(str(model))
        if isinstance(opened, Checkpoint) and backend == "torch":
            size = processing_size or opened.processing_size
            predictor = cls(opened.network(), device, precision, size, **options)
            predictor.model = opened.architecture
            predictor.precision_reason = explain_precision(precision, predictor.device)
            return predictor
        runtime = OnnxRuntime(opened, processing_size, device, precision, onnx_provider, cache_folder, log)
        predictor = cls(runtime.reference, device, precision, runtime.size, runtime=runtime, **options)
        predictor.model = runtime.architecture
        predictor.precision_reason = f"{precision}, for ONNX Runtime on {runtime.provider}"
        return predictor

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras that have a memory now."""
        return tuple(self._memories)

    @property
    def is_faster_in_batches(self) -> bool:
        """Whether one `step` for several cameras takes less time than one `step` for each."""
        return self.device.type == "cuda"

    def warm_up(self) -> None:
        """Run the step on black frames, so that the first real frame does not wait for memory and kernels.

        On a GPU, capture the step as a CUDA graph; where that fails, warn. With ONNX Runtime, export the network and
        build engines. Predictions do not depend on this call.
        """
        width, height = self.processing_size
        self._start_runtime()
        if self.backend == "torch" and self.device.type == "cuda" and not isinstance(self._network, GraphedNetwork):
            with self._autocast():
                self._network = graphed(self._network, height, width)
        for _ in range(_WARM_UP_STEPS):
            self._infer({"": Frame(np.zeros((height, width), np.uint8), 0)})

    def reset(self, camera: str | None = None, reason: str = "requested") -> None:
        """Empty the memory of one camera, or of all. The next `StepResult` has ``reason`` as its ``reset``."""
        for name in [camera] if camera is not None else list(self._memories):
            if self._memories.pop(name, None) is not None:
                self._reset_reasons[name] = reason

    def continue_from(self, other: StreamingPredictor, reason: str) -> None:
        """Take over the cameras of another predictor, with empty memories and their frame periods.

        The next `StepResult` of each has ``reason`` as its ``reset``.
        """
        self._clocks = other._clocks
        self._reset_reasons = other._reset_reasons | dict.fromkeys(other.cameras, reason)

    def step(self, frames: Mapping[str, Frame]) -> dict[str, StepResult | None]:
        """Process one new frame of each of some cameras.

        Args:
            frames: by the name of the camera.

        Returns:
            The result for each camera; None if the frame was dropped because it repeats the last stamp.

        Raises:
            FrameError: an image has the wrong type or shape. Nothing is changed then.
        """
        for name, frame in frames.items():
            _check_image(name, frame.image)
        results: dict[str, StepResult | None] = dict.fromkeys(frames)
        fresh = {name: frame for name, frame in frames.items() if not self._is_repeated(name, frame)}
        if not fresh:
            return results
        for name, frame in fresh.items():
            self._apply_time_rules(name, frame)
        for (name, frame), (views, observed, state) in zip(fresh.items(), self._infer(fresh), strict=True):
            memory = self._memories.get(name)
            results[name] = StepResult(
                stamp=frame.stamp,
                period=self._clocks.setdefault(name, _Clock()).period,
                reset=None if memory else self._reset_reasons.pop(name, "first frame"),
                views=views,
                previous=memory.view if memory else None,
                observed=observed,
            )
            self._memories[name] = _Memory(state, frame.image.shape, views[0], frame.stamp)
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

    def _start_runtime(self) -> None:
        if self._runtime is not None:
            self._network, self._runtime = self._runtime.network(), None

    @torch.inference_mode()
    def _infer(self, frames: Mapping[str, Frame]) -> list[tuple[list[FramePrediction], HostCopy | None, State]]:
        """Run one batched step. Returns for each frame its predictions, the observed flow, and the new state."""
        self._start_runtime()
        width, height = self.processing_size
        pixels = self._prepare(frame.image for frame in frames.values())
        inputs = pixels.permute(0, 3, 1, 2).float() / 255
        states = [
            self._memories[name].state if name in self._memories else self._network.initial_state(1, height, width)
            for name in frames
        ]
        state = states[0] if len(states) == 1 else tuple(torch.cat(parts) for parts in zip(*states, strict=True))
        start = time.perf_counter()
        with self._autocast():
            prediction, state = self._network.step(inputs, state)
            if self.horizon > 1 and self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # Separates the times of the two parts.
            next_known = time.perf_counter()
            predictions = rollout(self._network, inputs, prediction, state, self.horizon)
            self.rollout_seconds = time.perf_counter() - next_known
        # The flow is copied first. This thread waits only for the flow, and the rest is copied meanwhile.
        flows = [None if step.flow is None else _copy_flow(step.flow) for step in predictions]
        small, observed = _copies(pixels), _copies(prediction.observed_flow)
        drawn = [_copies(step.frame) for step in predictions]
        known = [None if flow is None else flow.tensor.numpy() for flow in flows]
        self.network_seconds = time.perf_counter() - start

        results = []
        for index, frame in enumerate(frames.values()):
            views = [
                FramePrediction(
                    frame.image,
                    small[index],
                    images[index],
                    None if flow is None else flow[index],
                    self._network.draws_detail,
                    None if step.confidence is None else step.confidence[index],
                )
                for step, images, flow in zip(predictions, drawn, known, strict=True)
            ]
            new_state = tuple(part[index : index + 1] for part in state)
            results.append((views, observed[index] if observed else None, new_state))
        return results

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32)


def _copy_flow(flow: Tensor) -> HostCopy:
    """Convert (B, 2, h, w) to (B, h, w, 2) float32 on the device, and copy it to the host."""
    return HostCopy(flow.float().permute(0, 2, 3, 1).contiguous())


def _copies(batch: Tensor | None) -> list[HostCopy]:
    """Copy each item of a batch to the host. Returns an empty list for None."""
    return [] if batch is None else [HostCopy(part) for part in batch]


def _check_image(name: str, image: Image) -> None:
    if image.dtype != np.uint8:
        raise FrameError(f"camera {name!r}: the image has type {image.dtype}; convert it to uint8")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise FrameError(f"camera {name!r}: the image has shape {image.shape}; expected (H, W) or (H, W, 3)")
