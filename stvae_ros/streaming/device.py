"""Choice of device and precision."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

_Network = TypeVar("_Network", bound=nn.Module)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(device: str) -> torch.device:
    """``auto`` is the first GPU, or the CPU if there is none. Raises ValueError for a device that is not here."""
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} is not one: use auto, cpu or cuda:N") from error
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r} is not there: {torch.cuda.device_count()} CUDA devices; use auto or cpu")
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is not supported: use auto, cpu or cuda:N")
    return resolved


def resolve_precision(precision: str, device: torch.device) -> str:
    """``auto`` is bf16 where the processor computes in it natively, else fp32.

    Returns a key of `DTYPES`. Raises ValueError for an unknown precision or one that the device lacks.
    """
    if precision == "auto":
        native = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bf16()
        return "bf16" if native else "fp32"
    if precision not in DTYPES:
        raise ValueError(f"precision {precision!r} is not one: use auto, {', '.join(DTYPES)}")
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 needs a CUDA device: use auto, fp32 or bf16 on a CPU")
    return precision


def rounded(network: _Network, dtype: torch.dtype) -> _Network:
    """A copy whose convolutions and linear layers hold their weights in ``dtype``, which autocast does at every step.

    The network itself if ``dtype`` is float32.
    """
    if dtype == torch.float32:
        return network
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.to(dtype)
    return network


def _cpu_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[-1].split("\n", 1)[0].split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
