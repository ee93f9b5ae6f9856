"""What one step of a network costs."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from stvae_ros.nn.interface import FramePredictor


@dataclass(frozen=True)
class StepCost:
    """Parameters, floating-point operations of one step (a multiply-add is two), and bytes of the state."""

    parameters: int
    flops: int
    state_bytes: int


def step_cost(network: FramePredictor, width: int, height: int) -> StepCost:
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


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int = 2048, seconds: float = 1.0) -> float:
    """Floating-point operations a second of a large square matrix product, the best of ``seconds`` of them.

    A yardstick for how well a network uses the processor; a convolution may come out faster.
    """
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
