"""The paper's recurrent systems in one frame: encoder, memory, flow and sampler where there is flow, decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.nn.layers.memory import MemoryStack
from stvae_ros.nn.layers.warp import resize_flow, warp
from stvae_ros.nn.paper.flow_regressor import FlowRegressor
from stvae_ros.nn.paper.lstm import FullyConnectedMemory


class VideoAutoencoder(FramePredictor):
    """Spatio-temporal video autoencoder with differentiable memory (arXiv 1511.06309, section 3).

    encoder, decoder: E and D. memory: from the features to the hidden maps. flow: Theta on these, whose flow
    moves the features before they are decoded; None decodes the hidden maps themselves.
    in_channels: of the frame. downscaling: of the features against the frame.
    frame_size: (height, width) of the only frames that it takes; None takes any multiple of ``downscaling``.
    sigmoid: end in a sigmoid, for a cross-entropy loss on binary frames.

    State: that of the memory and, with a recurrent regressor, the last flow, (B, 2, h, w) in feature pixels.
    """

    def __init__(
        self,
        encoder: nn.Module,
        memory: MemoryStack | FullyConnectedMemory,
        flow: FlowRegressor | None,
        decoder: nn.Module,
        in_channels: int,
        downscaling: int,
        frame_size: tuple[int, int] | None = None,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.memory, self.flow, self.decoder = encoder, memory, flow, decoder
        self.in_channels, self.size_multiple, self.frame_size = in_channels, downscaling, frame_size
        self.sigmoid = sigmoid

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Zeros; raises ValueError for a size that the network cannot take."""
        self.check_size(height, width)
        size = (height // self.size_multiple, width // self.size_multiple)
        state = self.memory.initial_state(batch, *size)
        if self._recurrent_flow:
            state += (torch.zeros(batch, 2, *size, device=state[0].device),)
        return state

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """frame (B, C, H, W) in [0, 1] -> next frame (B, C, H, W), backward flow (B, 2, H, W), new state."""
        features = self.encoder(frame)
        last_flow = state[-1] if self._recurrent_flow else None
        hidden, state = self.memory(features, state if last_flow is None else state[:-1])
        if self.flow is None:
            return self._prediction(self.decoder(hidden), None), state
        flow = self.flow(hidden, last_flow)
        if last_flow is not None:
            state += (flow,)
        height, width = frame.shape[-2:]
        return self._prediction(self.decoder(warp(features, flow)), resize_flow(flow, height, width)), state

    @property
    def _recurrent_flow(self) -> bool:
        return self.flow is not None and self.flow.keep is not None

    def _prediction(self, decoded: Tensor, flow: Tensor | None) -> Prediction:
        decoded = decoded.float()
        return Prediction(torch.sigmoid(decoded), flow, decoded) if self.sigmoid else Prediction(decoded, flow)
