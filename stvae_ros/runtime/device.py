"""Choice of device and precision."""

from __future__ import annotations

import copy
import os
import platform
import warnings
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

_Network = TypeVar("_Network", bound=nn.Module)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(device: str) -> torch.device:
    """``auto`` is the first GPU, or the CPU if there is none, or none that works, of which it warns.

    Raises ValueError for a device that is not here.
    """
    if device == "auto":
        return _first_gpu() or torch.device("cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} is not one: use auto, cpu or cuda:N") from error
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r} is not there: {torch.cuda.device_count()} CUDA devices; use auto or cpu")
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is not supported: use auto, cpu or cuda:N")
    return resolved


def _first_gpu() -> torch.device | None:
    if not torch.cuda.is_available():
        return None
    device = torch.device("cuda:0")
    try:
        torch.ones(1, device=device).add_(1).cpu()
    except (RuntimeError, AssertionError) as error:  # AssertionError: a PyTorch built without CUDA
        first = str(error).split("\n", 1)[0]
        warnings.warn(f"the GPU does not work ({first}): the network runs on the CPU", RuntimeWarning, stacklevel=3)
        return None
    return device


def resolve_precision(precision: str, device: torch.device) -> str:
    """``auto`` is bf16 where the processor computes in it natively, else fp32; see `precision` for what is measured.

    Returns a key of `DTYPES`. Raises ValueError for an unknown precision or one that the device lacks.
    """
    if precision == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if precision not in DTYPES:
        raise ValueError(f"precision {precision!r} is not one: use auto, {', '.join(DTYPES)}")
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 needs a CUDA device: use auto, fp32 or bf16 on a CPU")
    return precision


def cast_weights(network: _Network, dtype: torch.dtype) -> _Network:
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


def has_bf16(device: torch.device) -> bool:
    """Whether the processor computes in bf16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    flags = _cpu_facts().get("flags", "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def processor_name(device: torch.device) -> str:
    """Of the GPU or of the CPU, for people and to tell machines apart."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_facts().get("model name") or platform.processor() or platform.machine()


def automatic_threads() -> int:
    """CPU threads for the network that leave a quarter of the cores, at least one, to the robot's other nodes.

    Never more than PyTorch would take, which OMP_NUM_THREADS limits.
    """
    cores = len(os.sched_getaffinity(0))
    return max(1, min(torch.get_num_threads(), cores - max(1, cores // 4)))


def _cpu_facts() -> dict[str, str]:
    """What Linux says of the first core."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
