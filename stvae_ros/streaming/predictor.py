"""Streaming prediction for any number of cameras with one network."""

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

from stvae_ros import zoo
from stvae_ros.nn.cuda_graph import GraphedNetwork, graphed
from stvae_ros.nn.interface import FramePredictor, State
from stvae_ros.nn.recording import RecordedNetwork
from stvae_ros.nn.rollout import rollout
from stvae_ros.streaming.backends import BACKENDS, OnnxRuntime, default_cache, onnx_runtime
from stvae_ros.streaming.device import DTYPES, resolve_device, resolve_precision, rounded
from stvae_ros.streaming.download import Download
from stvae_ros.streaming.flow import Image
from stvae_ros.streaming.motion import Motion, View
from stvae_ros.streaming.precision import choose_precision
from stvae_ros.streaming.preparation import Preparation

_DEFAULT_PERIOD = 33_333_333
_PERIODS_REMEMBERED = 9
_WARM_UP_STEPS = 3
"""PyTorch still improves a recorded step in the first two."""
_LARGE_BLOCK = 31 << 20
"""Bytes. glibc returns no freed memory below twice the largest block up to 32 MiB that has been freed."""


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
        processing_size: tuple[int, int] = (320, 240),
        max_gap: float = 1.0,
        horizon: int = 1,
        runtime: OnnxRuntime | None = None,
    ) -> None:
        """
        network: see `stvae_ros.zoo`. device: auto, cpu or cuda:N. precision: auto, fp32, bf16 or fp16.
        processing_size: (width, height) in pixels to which frames are scaled for the network.
        max_gap: in seconds. horizon: how many frames ahead to predict; every frame beyond the next costs one more
        step of the network, on what it has predicted itself. runtime: what runs the network instead of PyTorch, see
        `from_weights`; it has a device and a precision of its own.
        Raises ValueError for a device, precision, size or horizon that cannot be used, and for a network that takes
        neither grey images nor colours.
        """
        if horizon < 1:
            raise ValueError(f"horizon = {horizon} must be at least 1, the next frame")
        if network.in_channels not in (1, 3):
            raise ValueError(
                f"a network of {network.in_channels} channels takes no images: what sees ON and OFF apart is for "
                "'stvae evaluate events' alone; train one with data.representation: signed and in_channels: 1"
            )
        self.device = resolve_device(device if runtime is None else "cpu")
        self.precision = resolve_precision(precision, self.device) if runtime is None else runtime.precision
        self.processing_size = processing_size
        self.max_gap = max_gap
        self.horizon = horizon
        network.check_size(processing_size[1], processing_size[0])
        self.network_seconds = 0.0
        """Time that the network took in the last `step`, its flow on the host; on a CPU without scaling the frames."""
        self.rollout_seconds = 0.0
        """The part of it that was for frames beyond the next one."""
        self.backend = "torch" if runtime is None else f"onnxruntime, {runtime.provider}"
        """What runs the network."""
        self.model = ""
        """Name of the network's architecture, where it came from a file."""
        self.precision_reason = ""
        """Why it has this precision, where it came from a file."""
        self._runtime = runtime
        self._dtype = DTYPES[self.precision] if runtime is None else torch.float32
        self._network = rounded(network.eval().to(self.device), self._dtype)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._prepare = Preparation(processing_size, network.in_channels, self.device)
        self._memories: dict[str, _Memory] = {}
        self._clocks: dict[str, _Clock] = {}
        self._reset_reasons: dict[str, str] = {}

    @classmethod
    def from_weights(
        cls,
        path: str | Path,
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
        """Load a weights file; by default at the processing size that it was made for.

        backend: torch, or onnxruntime, which an .onnx file always gets; weights are exported to ``cache_folder``, empty
        for a folder of the user's cache, in `warm_up` or before the first frame. onnx_provider: auto, cpu, cuda or
        tensorrt. log: told what takes long. ``options`` are those of the constructor. Raises WeightsError and
        ValueError.
        """
        path, reason = Path(path), f"{precision}, given"
        if backend not in BACKENDS:
            raise ValueError(f"backend {backend!r} is not one: use {' or '.join(BACKENDS)}")
        if path.suffix != ".onnx" and backend == "torch":
            network, size, runtime = zoo.load(path), processing_size or zoo.processing_size(path), None
            model = zoo.read_metadata(path)["architecture"]
            if precision == "auto":
                cache = Path(cache_folder).expanduser() if cache_folder else default_cache()
                choice = choose_precision(network, size, resolve_device(device), cache, zoo.file_hash(path))
                precision, reason = (choice.precision, str(choice)) if choice else ("fp32", "auto, no bf16 here")
        else:
            runtime = onnx_runtime(path, processing_size, device, precision, onnx_provider, cache_folder, log)
            network, size, model = runtime.reference(), runtime.size, runtime.architecture
            reason = f"{precision}, for ONNX Runtime on {runtime.provider}"
        predictor = cls(network, device, precision, size, runtime=runtime, **options)
        predictor.model, predictor.precision_reason = model, reason
        return predictor

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that have a memory now."""
        return tuple(self._memories)

    @property
    def is_faster_in_batches(self) -> bool:
        """Whether the frames of several cameras take less time in one `step` than one after the other."""
        return self.device.type == "cuda"

    @property
    def is_recorded(self) -> bool:
        """Whether `warm_up` records the step."""
        return self.backend == "torch" and self.device.type == "cpu"

    def record(self, recorded: bytes | None = None) -> RecordedNetwork:
        """Record the step, which takes seconds, or take over what such a predictor has ``recorded`` and saved."""
        width, height = self.processing_size
        if not isinstance(self._network, RecordedNetwork):
            with self._autocast():
                self._network = RecordedNetwork(self._network, height, width, recorded)
        return self._network

    def warm_up(self, recorded: bytes | None = None) -> None:
        """Make ready for speed: record the step on a CPU, see `record`, and run it on black frames.

        On a GPU: capture it as a CUDA graph; where that fails, warn. With ONNX Runtime: export, and build engines.

        So the first real frame does not wait for memory and kernels. Predictions are the same without.
        """
        # Freeing a large block once makes glibc keep the memory of a step for the next one.
        block = torch.empty(_LARGE_BLOCK, dtype=torch.uint8)
        del block
        width, height = self.processing_size
        self._start_runtime()
        if self.is_recorded:
            self.record(recorded)
        elif self.backend == "torch" and not isinstance(self._network, GraphedNetwork):
            with self._autocast():
                self._network = graphed(self._network, height, width)
        for _ in range(_WARM_UP_STEPS):
            self._infer({"": Frame(np.zeros((height, width), np.uint8), 0)})

    def reset(self, camera: str | None = None, reason: str = "requested") -> None:
        """Empty the memory of one camera, or of all; the next `Motion` gives ``reason``."""
        for name in [camera] if camera is not None else list(self._memories):
            if self._memories.pop(name, None) is not None:
                self._reset_reasons[name] = reason

    def continue_from(self, other: StreamingPredictor, reason: str) -> None:
        """Take over the cameras of another predictor with empty memories, for which the next `Motion` gives ``reason``.

        What is known of their frame periods stays.
        """
        self._clocks = other._clocks
        self._reset_reasons = other._reset_reasons | dict.fromkeys(other.cameras, reason)

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
        for (name, frame), (views, observed, state) in zip(fresh.items(), self._infer(fresh), strict=True):
            memory = self._memories.get(name)
            results[name] = Motion(
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
    def _infer(self, frames: Mapping[str, Frame]) -> list[tuple[list[View], Download | None, State]]:
        """One batched step: for each frame the views of those to come, the observed flow, and the new state."""
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
                torch.cuda.synchronize(self.device)  # So that the two parts can be told apart.
            next_known = time.perf_counter()
            predictions = rollout(self._network, inputs, prediction, state, self.horizon)
            self.rollout_seconds = time.perf_counter() - next_known
        # First the flow, which is needed next: the thread waits for it alone, while the rest comes behind it.
        flows = [None if step.flow is None else _download_flow(step.flow) for step in predictions]
        small, observed = _downloads(pixels), _downloads(prediction.observed_flow)
        drawn = [(_downloads(step.frame), _downloads(step.confidence)) for step in predictions]
        known = [None if flow is None else flow.tensor.numpy() for flow in flows]
        self.network_seconds = time.perf_counter() - start

        results = []
        for index, frame in enumerate(frames.values()):
            views = [
                View(
                    frame.image,
                    small[index],
                    images[index],
                    None if flow is None else flow[index],
                    self._network.draws_detail,
                    trusts[index] if trusts else None,
                )
                for (images, trusts), flow in zip(drawn, known, strict=True)
            ]
            new_state = tuple(part[index : index + 1] for part in state)
            results.append((views, observed[index] if observed else None, new_state))
        return results

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32)


def _download_flow(flow: Tensor) -> Download:
    """(B, 2, h, w) -> (B, h, w, 2) float32, rearranged on the device."""
    return Download(flow.float().permute(0, 2, 3, 1).contiguous())


def _downloads(batch: Tensor | None) -> list[Download]:
    """Of each part of a batch; none of None."""
    return [] if batch is None else [Download(part) for part in batch]


def _check_image(name: str, image: Image) -> None:
    if image.dtype != np.uint8:
        raise FrameError(f"camera {name!r}: the image has type {image.dtype}; convert it to uint8")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise FrameError(f"camera {name!r}: the image has shape {image.shape}; expected (H, W) or (H, W, 3)")
