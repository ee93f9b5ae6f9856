"""Choice between two forms of an operation: the fastest in PyTorch, or one that every runtime supports.

PyTorch has operations that ONNX and TensorRT lack, and some forms are fast on its CPU backend only. A network that uses
such a form also has a portable form. Both give the same result up to rounding. Export uses the portable form.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch
from torch import Tensor

_PORTABLE: ContextVar[bool] = ContextVar("portable", default=False)


@contextmanager
def portable_operations() -> Iterator[None]:
    """Context in which networks use portable operations only."""
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


def portable() -> bool:
    """Whether networks must use portable operations only."""
    return _PORTABLE.get()


def cpu_inference(x: Tensor) -> bool:
    """Whether operations on ``x`` may use forms that are fast on a CPU, without gradients, and not exportable."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not portable()


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context without autocast. It costs nothing where autocast is off already."""
    if portable() or device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
