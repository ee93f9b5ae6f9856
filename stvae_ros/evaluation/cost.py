"""The cost of one step of a network, and the speed of the machine for comparison."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from stvae_ros.nn.interface import FramePredictor
from stvae_ros.nn.segmentation.interface import Segmenter


@dataclass(frozen=True)
class StepCost:
    """Parameters, floating-point operations of one step (a multiply-add counts as two), and bytes of the state."""

    parameters: int
    flops: int
    state_bytes: int

    def least_bytes(self, bytes_per_weight: int) -> int:
        """Least memory traffic of a step in bytes: all weights are read, the state is read and written."""
        return self.parameters * bytes_per_weight + 2 * self.state_bytes


def step_cost(network: FramePredictor | Segmenter, width: int, height: int) -> StepCost:
    """Count the convolutions and matrix products of one step on one frame, on the network's device."""
    device = next(network.parameters()).device
    frame = torch.zeros(1, network.in_channels, height, width, device=device)
    state = network.initial_state(1, height, width)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.step(frame, state)
    return StepCost(
        parameters=sum(p.numel() for p in network.parameters()),
        flops=counter.get_total_flops(),
        state_bytes=sum(part.numel() * part.element_size() for part in state),
    )


@cache
def matmul_rate(device: torch.device, dtype: torch.dtype, size: int = 2048, seconds: float = 1.0) -> float:
    """Floating-point operations per second of a large square matrix product, the best within ``seconds``.

    It is a yardstick for the use of the processor by a network. A convolution may be faster.
    """
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _best_time(lambda: a @ b, device, seconds)


@cache
def copy_rate(device: torch.device, megabytes: int = 256, seconds: float = 0.5) -> float:
    """Bytes per second that a copy of a large array reads and writes, the best within ``seconds``."""
    source = torch.zeros(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _best_time(lambda: target.copy_(source), device, seconds)


def operator_shares(call: Callable[[], object], count: int) -> dict[str, float]:
    """The ``count`` PyTorch operators that take the most time in ``call``, with the share of each."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        call()
    times = {
        event.key.removeprefix("aten::"): float(event.self_device_time_total or event.self_cpu_time_total)
        for event in profiler.key_averages()
    }
    total = sum(times.values())
    ranked = sorted(times.items(), key=lambda item: -item[1])
    return {name: duration / total for name, duration in ranked[:count]}


def _best_time(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best
