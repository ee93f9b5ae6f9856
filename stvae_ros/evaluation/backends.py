"""Ways of running a network side by side: the speed of each, and its difference from eager PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stvae_ros.checkpoint import Checkpoint
from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.runtime.cuda_graph import GraphedNetwork
from stvae_ros.runtime.device import DTYPES, cast_weights
from stvae_ros.runtime.export import export_onnx
from stvae_ros.runtime.onnx_file import OnnxNetwork

WAYS = ("eager", "compiled", "graphs", "onnxruntime")
"""Eager PyTorch, as in the node on a CPU; torch.compile, which takes minutes; the step as a CUDA graph, as in the node
on a GPU, and compiled to one; ONNX Runtime."""
TURN = 5
"""Steps of one way before the next way has its turn. The first step is not counted: caches and threads are cold."""


class AutocastNetwork(FramePredictor):
    """A network on a device with weights and arithmetic in ``precision``; ``compiled`` is a mode of torch.compile."""

    def __init__(
        self, network: FramePredictor, device: torch.device, precision: str = "fp32", compiled: str | None = None
    ) -> None:
        super().__init__()
        self.in_channels, self.draws_detail = network.in_channels, network.draws_detail
        self.size_multiple, self.frame_size = network.size_multiple, network.frame_size
        self._dtype = DTYPES[precision]
        self.network = cast_weights(network.to(device), self._dtype)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device, self._graphs = device, compiled == "reduce-overhead"
        self._step: Callable[[Tensor, State], tuple[Prediction, State]] = self.network.step
        if compiled is not None:
            self._step = torch.compile(self.network.step, mode=compiled, dynamic=False)

    def autocast(self) -> torch.autocast:
        """The autocast context of its step."""
        return torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """See `FramePredictor.initial_state`."""
        return self.network.initial_state(batch, height, width)

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """See `FramePredictor.step`."""
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()
        with self.autocast():
            prediction, state = self._step(frame.to(self._device), state)
        if self._graphs:  # The graph writes its results into the same memory each time.
            state = tuple(part.clone() for part in state)
            own: dict[str, Any] = {
                name: part.clone() for name, part in prediction._asdict().items() if isinstance(part, Tensor)
            }
            prediction = prediction._replace(**own, levels=())
        return prediction, state


def ways(
    checkpoint: Checkpoint,
    size: tuple[int, int],
    device: torch.device,
    precisions: list[str],
    wanted: list[str],
    folder: Path,
) -> dict[str, FramePredictor]:
    """Make the network of a checkpoint in each wanted way that this machine has.

    Args:
        checkpoint: of the network.
        size: width and height of the frames in pixels.
        device: for PyTorch.
        precisions: besides fp32.
        wanted: some of `WAYS`.
        folder: for exported files.

    Returns:
        The networks by name. The first one, eager in fp32, is the reference.

    Raises:
        ValueError: the network cannot be made.
    """
    width, height = size
    found: dict[str, FramePredictor] = {"eager, fp32": AutocastNetwork(checkpoint.network(), device)}
    for precision in dict.fromkeys(["fp32", *precisions]):
        if "eager" in wanted:
            found[f"eager, {precision}"] = AutocastNetwork(checkpoint.network(), device, precision)
        if "compiled" in wanted:
            found[f"compiled, {precision}"] = AutocastNetwork(checkpoint.network(), device, precision, "default")
        if "graphs" in wanted and device.type == "cuda":
            network = AutocastNetwork(checkpoint.network(), device, precision)
            with network.autocast():
                found[f"CUDA graph, {precision}"] = GraphedNetwork(network.network, height, width)
            if "compiled" in wanted:
                mode = "reduce-overhead"
                found[f"compiled, CUDA graphs, {precision}"] = AutocastNetwork(network.network, device, precision, mode)
    if "onnxruntime" in wanted:
        import onnxruntime

        for provider in ("CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"):
            if (provider == "CPUExecutionProvider") == (device.type == "cpu"):
                for precision in ("fp32",) if device.type == "cpu" else ("fp32", "fp16"):
                    if provider in onnxruntime.get_available_providers():
                        path = folder / f"{precision}.onnx"
                        if not path.is_file():
                            export_onnx(checkpoint, path, size, precision)
                        name = f"ONNX Runtime {provider.removesuffix('ExecutionProvider')}, {precision}"
                        found[name] = OnnxNetwork(path, [provider, "CPUExecutionProvider"])
    return found


def step_times(networks: Mapping[str, FramePredictor], frames: list[Tensor], turns: int) -> dict[str, float]:
    """Measure the median milliseconds of a step on (1, C, H, W) frames, results on the host.

    The networks take turns, so that a slow moment of the machine affects all of them. They must be warm.
    """
    height, width = frames[0].shape[-2:]
    states = {name: network.initial_state(1, height, width) for name, network in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for turn in range(turns):
            for name, network in networks.items():
                for t in range(TURN):
                    start = time.perf_counter()
                    prediction, states[name] = network.step(frames[(turn + t) % len(frames)], states[name])
                    prediction.frame.cpu()
                    if t:
                        times[name].append((time.perf_counter() - start) * 1e3)
    return {name: float(np.median(values)) for name, values in times.items()}
