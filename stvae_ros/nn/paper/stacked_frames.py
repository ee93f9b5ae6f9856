"""`ae-conv`: the paper's baseline without memory, which sees the last ten frames as channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.nn.paper.autoencoder import spatial_encoder, xavier


class StackedFrames(FramePredictor):
    """Convolution, tanh, pooling; convolution, tanh; convolution, tanh; upsampling; convolution (Table 1).

    State: the last ``frames - 1`` frames, (B, (frames - 1) C, H, W), oldest first, black before the first.
    channels: of the first layer and of the one in the middle. encoder_gain: see `autoencoder.contrast`.
    sigmoid: end in a sigmoid, for a cross-entropy loss on binary frames.
    """

    size_multiple = 2

    def __init__(
        self,
        frames: int = 10,
        channels: tuple[int, int] = (16, 64),
        in_channels: int = 1,
        encoder_gain: float = 0.0,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        self.frames, self.in_channels, self.sigmoid = frames, in_channels, sigmoid
        outer, inner = channels
        self.encoder = spatial_encoder((frames * in_channels, outer), gain=encoder_gain)
        self.widen = nn.Conv2d(outer, inner, 7, padding=3)
        self.narrow = nn.Conv2d(inner, outer, 7, padding=3)
        self.decoder = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(outer, in_channels, 7, padding=3))
        for layer in (self.widen, self.narrow, self.decoder[1]):
            assert isinstance(layer, nn.Conv2d)
            xavier(layer)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Black frames; raises ValueError for an odd or empty size."""
        self.check_size(height, width)
        device = self.widen.weight.device
        return (torch.zeros(batch, (self.frames - 1) * self.in_channels, height, width, device=device),)

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """frame (B, C, H, W) in [0, 1] -> next frame (B, C, H, W), no flow, new state."""
        seen = torch.cat([state[0], frame.to(state[0].dtype)], dim=1)
        hidden = torch.tanh(self.widen(self.encoder(seen)))
        decoded = self.decoder(torch.tanh(self.narrow(hidden))).float()
        prediction = Prediction(torch.sigmoid(decoded), None, decoded) if self.sigmoid else Prediction(decoded, None)
        return prediction, (seen[:, self.in_channels :],)
