"""A network whose step is captured once as a CUDA graph, and then launched as a whole.

A step is hundreds of short operations; on a GPU most of their time is Python's, which starts them one by one.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.runtime.recording import WrappedNetwork

_STEPS_BEFORE = 3
"""In which libraries choose kernels and take memory, which cannot be captured."""


class GraphedNetwork(WrappedNetwork):
    """Does what ``network``, which is on a GPU, does, without the levels of its flow, in one launch.

    It holds for frames of ``height`` x ``width`` pixels, a batch of one, and the autocast in force while capturing; all
    else goes to the network itself. Raises RuntimeError where the step cannot be captured.
    """

    def __init__(self, network: FramePredictor, height: int, width: int) -> None:
        super().__init__(network)
        device = next(network.parameters()).device
        self._graph = torch.cuda.CUDAGraph()
        frame = torch.zeros(1, network.in_channels, height, width, device=device)
        dtype, enabled = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
        # What autocast remembers would be gone when the graph reads it.
        autocast = torch.autocast("cuda", dtype, enabled, cache_enabled=False)
        with torch.no_grad(), torch.cuda.device(device), autocast:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                state = network.initial_state(1, height, width)
                for _ in range(_STEPS_BEFORE):
                    _, state = network.step(frame, state)
                self._inputs = [part.clone() for part in (frame, *state)]
            torch.cuda.current_stream().wait_stream(stream)
            # Another network may be at work in another thread.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._results = self.flat(*network.step(self._inputs[0], tuple(self._inputs[1:])))

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """See `FramePredictor.step`. The results are the caller's: the next launch does not change them."""
        if any(part.shape != own.shape for part, own in zip((frame, *state), self._inputs, strict=True)):
            return self.network.step(frame, state)
        for own, part in zip(self._inputs, (frame, *state), strict=True):
            own.copy_(part)
        self._graph.replay()
        return self.unflat([part.clone() for part in self._results])


def graphed(network: FramePredictor, height: int, width: int) -> FramePredictor:
    """``network`` as a `GraphedNetwork`, or itself, with a warning, where its step cannot be captured."""
    try:
        return GraphedNetwork(network, height, width)
    except RuntimeError as error:
        reason = str(error).split("\n", 1)[0]
        warnings.warn(f"no CUDA graph ({reason}): the network runs without, slower", RuntimeWarning, stacklevel=2)
        return network
