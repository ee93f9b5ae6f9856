"""A network whose step is recorded once, and then runs without Python.

A step is hundreds of short operations; on a CPU much of their time is Python's and autocast's, on one core while the
others wait. The recorded step makes the same calls of the same kernels in the same order.
"""

from __future__ import annotations

import copy
import io
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from stvae_ros.nn.interface import FramePredictor, Prediction, State

# While PyTorch records, functions of it are replaced for all threads: two recordings at once would fail.
_RECORDING = threading.Lock()


class WrappedNetwork(FramePredictor):
    """Does what ``network`` does, without the levels of its flow, by some other way of running its step."""

    def __init__(self, network: FramePredictor) -> None:
        super().__init__()
        self.in_channels, self.draws_detail = network.in_channels, network.draws_detail
        self.size_multiple, self.frame_size = network.size_multiple, network.frame_size
        self.network = network
        self.outputs: list[str] = []
        """Fields of `Prediction` that it has."""

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """See `FramePredictor.initial_state`."""
        return self.network.initial_state(batch, height, width)

    def flat(self, prediction: Prediction, state: State) -> tuple[Tensor, ...]:
        """What a step gives, as tensors alone."""
        self.outputs = [name for name, value in prediction._asdict().items() if isinstance(value, Tensor)]
        return (*(getattr(prediction, name) for name in self.outputs), *state)

    def unflat(self, results: Sequence[Tensor]) -> tuple[Prediction, State]:
        """What `flat` was given."""
        outputs: dict[str, Any] = dict(zip(self.outputs, results, strict=False))
        return Prediction(results[0], None)._replace(**outputs), tuple(results[len(outputs) :])


class RecordedNetwork(WrappedNetwork):
    """Does what ``network`` does, without the levels of its flow, and faster; a batch is taken frame by frame.

    Recording takes seconds. It holds for frames of ``height`` x ``width`` pixels, the device that the network is on,
    and the autocast in force while recording; frames of another size go to the network itself.
    """

    def __init__(self, network: FramePredictor, height: int, width: int, recorded: bytes | None = None) -> None:
        """recorded: `saved` of the like in another process, so that nothing is recorded in this one."""
        super().__init__(network)
        frame = torch.zeros(1, network.in_channels, height, width, device=next(network.parameters()).device)
        with torch.no_grad():
            prediction, state = network.step(frame, network.initial_state(1, height, width))
            self.flat(prediction, state)
            self._like = [(part.shape, part.dtype) for part in (frame, *state)]
            with warnings.catch_warnings():
                # What PyTorch offers instead, `torch.export` and `torch.compile`, is no faster than no recording here.
                warnings.simplefilter("ignore", DeprecationWarning)
                if recorded is None:
                    self._graph = self._record(frame, state)
                else:
                    self._graph = torch.jit.load(io.BytesIO(recorded), frame.device)

    def _record(self, frame: Tensor, state: State) -> torch.jit.ScriptModule:
        frozen = copy.deepcopy(self.network).requires_grad_(False)

        def step(frame: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            return self.flat(*frozen.step(frame, state))

        with _RECORDING:
            graph = make_fx(step)(frame, *state)
        graph.graph.eliminate_dead_code()
        graph.recompile()
        with torch.autocast(frame.device.type, enabled=False):
            traced: torch.jit.ScriptModule = torch.jit.trace(graph, (frame, *state), check_trace=False)
        return traced

    def saved(self) -> bytes:
        """What has been recorded, for the constructor."""
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.save(self._graph, file)
        return file.getvalue()

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """See `FramePredictor.step`."""
        if any(part.shape[1:] != shape[1:] for part, (shape, _) in zip((frame, *state), self._like, strict=True)):
            return self.network.step(frame, state)
        inputs = [part.to(dtype) for part, (_, dtype) in zip((frame, *state), self._like, strict=True)]
        with torch.autocast(frame.device.type, enabled=False):
            steps = [self._graph(*parts) for parts in zip(*(part.split(1) for part in inputs), strict=True)]
        results = steps[0] if len(steps) == 1 else [torch.cat(parts) for parts in zip(*steps, strict=True)]
        return self.unflat(results)
