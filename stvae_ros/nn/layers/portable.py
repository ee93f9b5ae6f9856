"""Which form of an operation a network uses: the fastest in PyTorch, or one that every runtime knows.

PyTorch has operations that ONNX and TensorRT have not, and tricks that are fast on its CPU alone. Where a network uses
one, it has a second form in common operations, which gives the same up to rounding; a step is exported in that form.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch

_PORTABLE: ContextVar[bool] = ContextVar("portable", default=False)


@contextmanager
def portable_operations() -> Iterator[None]:
    """A context in which networks use common operations alone."""
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


def portable() -> bool:
    """Whether networks are to use common operations alone."""
    return _PORTABLE.get()


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context without autocast. The portable form and the meta device have none to begin with."""
    return nullcontext() if portable() or device.type == "meta" else torch.autocast(device.type, enabled=False)
