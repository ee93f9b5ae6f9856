"""``precision: auto``: bf16 where it is faster on this processor and costs next to nothing, which is measured."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from stvae_ros.nn.interface import FramePredictor
from stvae_ros.runtime.device import cast_weights, has_bf16, processor_name
from stvae_ros.runtime.export_check import moving_frames
from stvae_ros.runtime.layer_speed import TimeUp, before_each_layer, inputs_of_layers, speedup_in_bf16

LOSS = 0.1
"""dB of PSNR that bf16 may cost; where it costs more, auto is fp32."""
_FASTER = 1.1
"""How much faster bf16 must be: for less, its rounding is not worth it."""
_SECONDS = (0.8, 1.4)
"""After so long no layer is timed once more, and none is run at all."""
_FRAMES = 6


@dataclass(frozen=True)
class Choice:
    """What auto is, and why.

    speedup: of the convolutions in bf16. loss: PSNR that bf16 costs, in dB; 0 where it is not faster, and none is
    looked at. Both are NaN where the time was up before they were known. seconds: that measuring took.
    """

    precision: str
    speedup: float
    loss: float
    seconds: float

    @property
    def in_time(self) -> bool:
        """Whether all was measured before the time was up; else the machine was too busy for this to be kept."""
        return self.seconds <= _SECONDS[1]

    def __str__(self) -> str:
        if math.isnan(self.loss):
            unknown = "whether bf16 is faster" if math.isnan(self.speedup) else "what bf16 costs"
            return f"auto: {self.precision}, since in {self.seconds:.1f} s this machine was too busy to tell {unknown}"
        cost = f", and cost {self.loss:.3f} dB (at most {LOSS} dB allowed)" if self.speedup > _FASTER else ""
        speed = f"convolutions in bf16 take 1/{self.speedup:.2f} of the time of fp32"
        return f"auto, measured in {self.seconds:.1f} s: {speed}{cost}"


def choose_precision(
    network: FramePredictor, size: tuple[int, int], device: torch.device, cache: Path, weights_hash: str
) -> Choice | None:
    """What ``precision: auto`` is for frames of ``size`` (width, height), None, that is fp32, if there is no bf16 here.

    Measured once for each network, size, processor, number of threads and version of PyTorch; kept in the folder
    ``cache``, unless the machine was too busy to measure all of it in time.
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
    if not choice.in_time:
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

    In under two seconds: the clock is looked at before each layer, and where the time is up fp32 is taken.
    Raises ValueError for a size that the network cannot take.
    """
    start = time.perf_counter()
    enough, end = (start + seconds for seconds in _SECONDS)
    network.check_size(size[1], size[0])
    network = network.eval()
    multiple = network.size_multiple
    height, width = network.frame_size or (max(64 // multiple, 1) * multiple, max(96 // multiple, 1) * multiple)
    frames = [frame.to(device) for frame in moving_frames(network.in_channels, width, height, _FRAMES)]
    speedup = loss = math.nan
    try:
        speedup = speedup_in_bf16(inputs_of_layers(network, frames[0], size, end), device, enough, end)
        loss = _loss(network, frames, end) if speedup > _FASTER else 0.0
    except TimeUp:
        pass
    precision = "bf16" if speedup > _FASTER and loss <= LOSS else "fp32"
    return Choice(precision, speedup, loss, time.perf_counter() - start)


def _loss(network: FramePredictor, frames: list[Tensor], end: float) -> float:
    """PSNR of the predicted frames in fp32 less that in bf16, in dB, of those known at the time ``end``.

    Not of the first two predictions: nobody can know yet how things move. Raises TimeUp where no other is known.
    """
    ways = {dtype: cast_weights(network, dtype) for dtype in (torch.float32, torch.bfloat16)}
    states = {dtype: way.initial_state(1, *frames[0].shape[-2:]) for dtype, way in ways.items()}
    losses: list[float] = []
    try:
        for frame, following in pairwise(frames):
            psnr = {}
            for dtype, way in ways.items():
                with before_each_layer(way, end), torch.autocast(frame.device.type, dtype, dtype != torch.float32):
                    prediction, states[dtype] = way.step(frame, states[dtype])
                error = (prediction.frame.float().clamp(0, 1) - following).square().mean().clamp(min=1e-6)
                psnr[dtype] = -10 * math.log10(error.item())
            losses.append(psnr[torch.float32] - psnr[torch.bfloat16])
    except TimeUp:
        if len(losses) <= 2:
            raise
    return mean(losses[2:])
