"""Results on their way from the device to the host."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor


class HostCopy:
    """Starts to copy a tensor to the host; only who asks for it waits, and it is copied beside what the GPU does next.

    A tensor of the host is itself.
    """

    def __init__(self, tensor: Tensor) -> None:
        # From a GPU this goes into pinned memory.
        self._copy = tensor.to("cpu", non_blocking=True)
        self._done: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(tensor.device))

    @cached_property
    def tensor(self) -> Tensor:
        """The copy. Raises what the device has failed with until then."""
        if self._done is not None:
            self._done.synchronize()
        return self._copy
