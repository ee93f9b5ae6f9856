"""Asynchronous copies of results from the device to the host."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor


class HostCopy:
    """Starts an asynchronous copy of a tensor to the host. Only the first use of `tensor` waits for it.

    A tensor that is on the host already is not copied.
    """

    def __init__(self, tensor: Tensor) -> None:
        # From a GPU, this copies into pinned memory.
        self._copy = tensor.to("cpu", non_blocking=True)
        self._done: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(tensor.device))

    @cached_property
    def tensor(self) -> Tensor:
        """The copy. Raises the error of the device, if it has failed meanwhile."""
        if self._done is not None:
            self._done.synchronize()
        return self._copy
