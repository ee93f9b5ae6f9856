"""`ae-convlstm-flow`: the paper's network (final version, Table 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from stvae_ros.nn.autoencoder import spatial_decoder, spatial_encoder
from stvae_ros.nn.conv_lstm import ConvLSTMCell
from stvae_ros.nn.flow_regressor import FlowRegressor
from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.nn.sampling import resize_flow, warp


class AEConvLSTMFlow(FramePredictor):
    """Spatio-temporal video autoencoder with differentiable memory (arXiv 1511.06309, section 3).

    E 1->16; ConvLSTM 16->64; Theta; sampler on the features of E; D 16->1. 1,035,067 parameters.
    State: hidden and cell, each (B, 64, H/2, W/2) float32.

    huber_weight: w_H. encoder_gain: 0 for the paper's initialisation of E; see `autoencoder.contrast`.
    """

    in_channels = 1
    size_multiple = 2

    def __init__(
        self, features: int = 16, memory: int = 64, huber_weight: float = 1e-2, encoder_gain: float = 0.0
    ) -> None:
        super().__init__()
        self.encoder = spatial_encoder(self.in_channels, features, gain=encoder_gain)
        self.memory = ConvLSTMCell(features, memory)
        self.flow = FlowRegressor(memory, huber_weight=huber_weight)
        self.decoder = spatial_decoder(features, self.in_channels)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """(hidden, cell), zeros; raises ValueError for an odd or empty size."""
        self.check_size(height, width)
        weight = self.memory.gates.weight
        zeros = torch.zeros(
            batch, self.memory.hidden_channels, height // 2, width // 2, device=weight.device, dtype=torch.float32
        )
        return zeros, zeros

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """frame (B, 1, H, W) in [0, 1] -> next frame (B, 1, H, W), backward flow (B, 2, H, W), new state."""
        features = self.encoder(frame)
        hidden, cell = self.memory(features, *state)
        flow = self.flow(hidden)
        predicted = self.decoder(warp(features, flow))
        height, width = frame.shape[-2:]
        return Prediction(predicted.float(), resize_flow(flow, height, width)), (hidden, cell)
