"""``precision: auto``: bf16 where it is faster on this processor and costs next to nothing, which is measured."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn

from stvae_ros.export.check import moving_frames
from stvae_ros.nn.interface import FramePredictor
from stvae_ros.streaming.device import has_bf16, processor_name, rounded

LOSS = 0.1
"""dB of PSNR that bf16 may cost; where it costs more, auto is fp32."""
_FASTER = 1.1
"""How much faster bf16 must be: for less, its rounding is not worth it."""
_CLEAR = (0.8, 1.6)
"""Speedups beyond these need no further runs."""
_RUNS = 50
_SECONDS = (0.8, 1.4)
"""After so long no further layer is timed, and no further frame predicted."""
_TOO_LONG = 1.5
"""Seconds after which a machine was too busy for its answer to be kept."""
_FRAMES = 6


@dataclass(frozen=True)
class Choice:
    """What auto is, and why.

    speedup: of the convolutions in bf16. loss: PSNR that bf16 costs, in dB; 0 where it is not faster, and none is
    looked at. seconds: that measuring took.
    """

    precision: str
    speedup: float
    loss: float
    seconds: float

    def __str__(self) -> str:
        cost = f", and cost {self.loss:.3f} dB (at most {LOSS} dB allowed)" if self.speedup > _FASTER else ""
        speed = f"convolutions in bf16 take 1/{self.speedup:.2f} of the time of fp32"
        return f"auto, measured in {self.seconds:.1f} s: {speed}{cost}"


def choose_precision(
    network: FramePredictor, size: tuple[int, int], device: torch.device, cache: Path, weights_hash: str
) -> Choice | None:
    """What ``precision: auto`` is for frames of ``size`` (width, height), None, that is fp32, if there is no bf16 here.

    Measured once for each network, size, processor, number of threads and version of PyTorch; kept in the folder
    ``cache``, unless the machine was too busy to measure it in time.
    """
    if not has_bf16(device):
        return None
    file = cache / "precision.json"
    machine = f"{processor_name(device)}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}"
    key = f"{weights_hash} at {size[0]}x{size[1]}, {machine}"
    try:
        known = json.loads(file.read_text())
        return Choice(**known[key])
    except (OSError, ValueError, TypeError, KeyError):
        choice = measure(network.to(device), size, device)
    if choice.seconds > _TOO_LONG:
        return choice
    try:  # Others may have added theirs meanwhile.
        known = json.loads(file.read_text()) if file.is_file() else {}
        cache.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        partial.write_text(json.dumps({**known, key: asdict(choice)}, indent=1))
        os.replace(partial, file)
    except (OSError, ValueError, TypeError):
        pass  # It is measured again next time.
    return choice


@torch.inference_mode()
def measure(network: FramePredictor, size: tuple[int, int], device: torch.device) -> Choice:
    """Compare bf16 with fp32: speed on frames of ``size``, quality on small frames of a moving scene.

    Raises ValueError for a size that the network cannot take.
    """
    start = time.perf_counter()
    network.check_size(size[1], size[0])
    network = network.eval()
    multiple = network.size_multiple
    height, width = network.frame_size or (max(64 // multiple, 1) * multiple, max(96 // multiple, 1) * multiple)
    frames = [frame.to(device) for frame in moving_frames(network.in_channels, width, height, _FRAMES)]
    speedup = _speedup(_inputs_of_layers(network, frames[0], size), device, start + _SECONDS[0])
    loss = _loss(network, frames, start + _SECONDS[1]) if speedup > _FASTER else 0.0
    precision = "bf16" if speedup > _FASTER and loss <= LOSS else "fp32"
    return Choice(precision, speedup, loss, time.perf_counter() - start)


def _inputs_of_layers(network: FramePredictor, frame: Tensor, size: tuple[int, int]) -> list[tuple[nn.Module, Tensor]]:
    """Each convolution and linear layer, with something as large as what goes into it for frames of ``size``.

    frame: (1, C, H, W), a small one, which takes less time than one of ``size`` would.
    """
    scale = (size[1] / frame.shape[-2], size[0] / frame.shape[-1])
    found: list[tuple[nn.Module, Tensor]] = []

    def note(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        shape = list(args[0].shape)
        if isinstance(layer, nn.Conv2d):
            shape[-2:] = (round(length * factor) for length, factor in zip(shape[-2:], scale, strict=True))
        found.append((layer, torch.rand(shape, device=frame.device)))

    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        network.step(frame, network.initial_state(1, *frame.shape[-2:]))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _speedup(inputs: list[tuple[nn.Module, Tensor]], device: torch.device, end: float) -> float:
    """Time of the layers in fp32 over that in bf16, of the best of several runs each, which take turns.

    end: time after which no further layer is timed, as of `time.perf_counter`.
    """
    pairs = [({torch.float32: layer, torch.bfloat16: copy.deepcopy(layer).bfloat16()}, x) for layer, x in inputs]
    best: dict[torch.dtype, dict[int, float]] = {torch.float32: {}, torch.bfloat16: {}}

    def speedup() -> float:
        return sum(best[torch.float32].values()) / sum(best[torch.bfloat16].values())

    for run in range(_RUNS):
        for index, (layers, x) in enumerate(pairs):
            for dtype, layer in layers.items():
                start = time.perf_counter()
                layer(x.to(dtype))
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                best[dtype][index] = min(best[dtype].get(index, float("inf")), time.perf_counter() - start)
            if time.perf_counter() > end:
                return speedup()
        if run >= 2 and not _CLEAR[0] < speedup() < _CLEAR[1]:  # The first run also makes kernels ready.
            break
    return speedup()


def _loss(network: FramePredictor, frames: list[Tensor], end: float) -> float:
    """PSNR of the predicted frames in fp32 less that in bf16, in dB, of the frames up to the time ``end``, or of one.

    Not of the first two predictions: nobody can know yet how things move.
    """
    ways = {dtype: rounded(network, dtype) for dtype in (torch.float32, torch.bfloat16)}
    states = {dtype: way.initial_state(1, *frames[0].shape[-2:]) for dtype, way in ways.items()}
    psnr: dict[torch.dtype, list[float]] = {dtype: [] for dtype in ways}
    for t, (frame, following) in enumerate(pairwise(frames)):
        for dtype, way in ways.items():
            with torch.autocast(frame.device.type, dtype, enabled=dtype != torch.float32):
                prediction, states[dtype] = way.step(frame, states[dtype])
            error = (prediction.frame.float().clamp(0, 1) - following).square().mean().clamp(min=1e-6)
            psnr[dtype].append(-10 * math.log10(error.item()))
        if t >= 2 and time.perf_counter() > end:
            break
    return mean(psnr[torch.float32][2:]) - mean(psnr[torch.bfloat16][2:])
