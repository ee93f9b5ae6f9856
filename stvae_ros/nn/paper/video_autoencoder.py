"""Spatio-temporal video autoencoder with differentiable memory (arXiv 1511.06309, section 3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.nn.layers.memory import MemoryStack, MemoryState
from stvae_ros.nn.layers.warp import resize_flow, warp
from stvae_ros.nn.paper.autoencoder import decoded_prediction
from stvae_ros.nn.paper.flow_regressor import FlowRegressor
from stvae_ros.nn.paper.lstm import FullyConnectedMemory


class VideoAutoencoderState(NamedTuple):
    """State of a `VideoAutoencoder`.

    Attributes:
        memory: hidden and cell states of the LSTMs.
        last_flow: flow of the last step, (B, 2, h, w) in pixels of the features. None without a recurrent regressor.
    """

    memory: MemoryState
    last_flow: Tensor | None

    def flatten(self) -> State:
        """Return the tensors of the memory, then `last_flow` unless it is None."""
        return self.memory.flatten() + (() if self.last_flow is None else (self.last_flow,))


class VideoAutoencoder(FramePredictor):
    """Encoder E, memory, flow regressor Theta with grid generator and sampler, decoder D.

    Args:
        encoder: E, from frames to features.
        memory: LSTMs, from features to a hidden state of the same height and width.
        flow: Theta, from the hidden state to the flow that warps the features. None decodes the hidden state instead.
        decoder: D, from features to frames.
        in_channels: channels of a frame.
        downscaling: size of a frame divided by the size of its features.
        frame_size: (height, width) of the only frames that the network takes. None allows all multiples of
            ``downscaling``.
        sigmoid: whether the network ends in a sigmoid, for a cross-entropy loss on binary frames.
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
        self._recurrent_flow = flow is not None and flow.keep is not None

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Return zeros, flattened from `VideoAutoencoderState`; see `FramePredictor.initial_state`."""
        self.check_size(height, width)
        size = (height // self.size_multiple, width // self.size_multiple)
        memory = self.memory.initial_state(batch, *size)
        flow = torch.zeros(batch, 2, *size, device=memory.hidden[0].device) if self._recurrent_flow else None
        return VideoAutoencoderState(memory, flow).flatten()

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """Predict the next frame; see `FramePredictor.step`.

        x_t = E(Y_t), h_t = LSTM(x_t, h_{t-1}), T_t = Theta(h_t), Y_{t+1} = D(sampler(x_t, grid(T_t))).
        Without flow: Y_{t+1} = D(h_t).
        """
        old = self._unflatten(state)
        features = self.encoder(frame)
        hidden, memory = self.memory(features, old.memory)
        if self.flow is None:
            prediction = decoded_prediction(self.decoder(hidden), None, self.sigmoid)
            return prediction, VideoAutoencoderState(memory, None).flatten()
        flow = self.flow(hidden, old.last_flow)
        decoded = self.decoder(warp(features, flow))
        height, width = frame.shape[-2:]
        prediction = decoded_prediction(decoded, resize_flow(flow, height, width), self.sigmoid)
        return prediction, VideoAutoencoderState(memory, flow if self._recurrent_flow else None).flatten()

    def _unflatten(self, state: State) -> VideoAutoencoderState:
        if self._recurrent_flow:
            return VideoAutoencoderState(MemoryState.unflatten(state[:-1]), state[-1])
        return VideoAutoencoderState(MemoryState.unflatten(state), None)
