"""A network whose step is captured once as a CUDA graph and then launched as a whole.

A step is hundreds of short operations. On a GPU most of their time goes into starting them from Python one by one.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from stvae_ros.nn.interface import FramePredictor, Prediction, State

_STEPS_BEFORE = 3
"""Steps before the capture. In these, libraries choose kernels and allocate memory, which cannot be captured."""


class GraphedNetwork(FramePredictor):
    """A network on a GPU whose step is one launch of a CUDA graph.

    Its predictions lack `Prediction.levels`. The graph serves a batch of one frame of ``height`` x ``width`` pixels,
    under the autocast in force while capturing. All other input goes to the network itself.

    Raises:
        RuntimeError: the step cannot be captured.
    """

    def __init__(self, network: FramePredictor, height: int, width: int) -> None:
        super().__init__()
        self.in_channels, self.draws_detail = network.in_channels, network.draws_detail
        self.size_multiple, self.frame_size = network.size_multiple, network.frame_size
        self.network = network
        device = next(network.parameters()).device
        self._graph = torch.cuda.CUDAGraph()
        frame = torch.zeros(1, network.in_channels, height, width, device=device)
        dtype, enabled = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
        # The graph would read weights that autocast has cast and then freed.
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
            # "thread_local": another thread may run another network meanwhile.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                prediction, state = network.step(self._inputs[0], tuple(self._inputs[1:]))
            outputs = prediction._asdict().items()
            self._outputs = {name: value for name, value in outputs if isinstance(value, Tensor)}
            self._state = state

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """See `FramePredictor.initial_state`."""
        return self.network.initial_state(batch, height, width)

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """See `FramePredictor.step`. The results are copies: the next launch does not change them."""
        if any(part.shape != own.shape for part, own in zip((frame, *state), self._inputs, strict=True)):
            return self.network.step(frame, state)
        for own, part in zip(self._inputs, (frame, *state), strict=True):
            own.copy_(part)
        self._graph.replay()
        outputs: dict[str, Any] = {name: value.clone() for name, value in self._outputs.items()}
        return Prediction(**{"flow": None, **outputs}), tuple(part.clone() for part in self._state)


def graphed(network: FramePredictor, height: int, width: int) -> FramePredictor:
    """Return ``network`` as a `GraphedNetwork`. Where its step cannot be captured, warn and return it as it is."""
    try:
        return GraphedNetwork(network, height, width)
    except RuntimeError as error:
        reason = str(error).split("\n", 1)[0]
        warnings.warn(f"no CUDA graph ({reason}): the network runs without, slower", RuntimeWarning, stacklevel=2)
        return network
