"""Choice of device, precision and number of threads."""

from __future__ import annotations

import copy
import os
import re
import warnings
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

_Network = TypeVar("_Network", bound=nn.Module)

_OLDEST_TORCH = (2, 2)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_device(device: str) -> None:
    """Raise ValueError unless ``device`` is auto, cpu, cuda or cuda:N, whether or not it is there."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError(f"device {device!r} is not one: use auto, cpu or cuda:N")


def resolve_device(device: str) -> torch.device:
    """Find the device that a user names.

    Args:
        device: auto, cpu or cuda:N. ``auto`` is the first GPU, or the CPU if there is no GPU. A GPU that does not work
            is reported as a RuntimeWarning.

    Raises:
        ValueError: the device is unknown or missing, or PyTorch is too old.
    """
    if torch.__version__ < _OLDEST_TORCH:  # type: ignore[operator]
        raise ValueError(
            f"PyTorch {torch.__version__} is too old: install {'.'.join(map(str, _OLDEST_TORCH))} or later"
        )
    check_device(device)
    if device == "auto":
        return _first_gpu() or torch.device("cpu")
    resolved = torch.device(device)
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r} is not there: {torch.cuda.device_count()} CUDA devices; use auto or cpu")
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
    """Find the precision that a user names.

    Args:
        precision: a key of `DTYPES`, or ``auto``, which is bf16 where the device has bf16 arithmetic, else fp32.
        device: the device of the network.

    Returns:
        A key of `DTYPES`.

    Raises:
        ValueError: the precision is unknown, or the device lacks it.
    """
    if precision == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if precision not in DTYPES:
        raise ValueError(f"precision {precision!r} is not one: use auto, {', '.join(DTYPES)}")
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 needs a CUDA device: use auto, fp32 or bf16 on a CPU")
    return precision


def cast_weights(network: _Network, dtype: torch.dtype) -> _Network:
    """Copy a network and cast the weights of its convolutions and linear layers.

    Autocast would otherwise cast them at every step. For float32 the network itself is returned.
    """
    if dtype == torch.float32:
        return network
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.to(dtype)
    return network


def has_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 arithmetic: avx512_bf16 or amx_bf16 on a CPU, compute capability 8.0 on a GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        facts = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in facts or "amx_bf16" in facts


def explain_precision(precision: str, device: torch.device) -> str:
    """Say why a network has its precision, for diagnostics; ``precision`` is the one that the user gave."""
    if precision != "auto":
        return f"{precision}, given"
    processor = "GPU" if device.type == "cuda" else "CPU"
    return f"auto: this {processor} has {'' if has_bf16(device) else 'no '}bf16 arithmetic"


def automatic_threads() -> int:
    """Number of CPU threads for the network.

    A quarter of the cores, at least one, stays free for the robot's other nodes. OMP_NUM_THREADS is an upper limit.
    """
    cores = len(os.sched_getaffinity(0))
    return max(1, min(torch.get_num_threads(), cores - max(1, cores // 4)))
