"""`ae-conv`, the paper's baseline without memory (arXiv 1511.06309, Table 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.nn.paper.autoencoder import decoded_prediction, spatial_encoder, xavier


class StackedFrames(FramePredictor):
    """Convolutional autoencoder that reads the last frames as channels.

    The layers are: convolution, tanh, pooling; convolution, tanh; convolution, tanh; upsampling, convolution.
    The state is one tensor with the earlier frames, (B, (frames - 1) C, H, W), oldest first. It starts black.

    Args:
        frames: number of frames that the network reads.
        channels: after the first and after the second convolution.
        in_channels: C, channels of a frame.
        encoder_gain: see `zero_mean_filters`; 0 for the paper's initialisation.
        sigmoid: whether the network ends in a sigmoid, for a cross-entropy loss on binary frames.
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
        """Return black frames; see `FramePredictor.initial_state`."""
        self.check_size(height, width)
        device = self.widen.weight.device
        return (torch.zeros(batch, (self.frames - 1) * self.in_channels, height, width, device=device),)

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        """Predict the next frame, without flow; see `FramePredictor.step`."""
        (past,) = state
        frames = torch.cat([past, frame.to(past.dtype)], dim=1)
        features = torch.tanh(self.widen(self.encoder(frames)))
        decoded = self.decoder(torch.tanh(self.narrow(features)))
        return decoded_prediction(decoded, None, self.sigmoid), (frames[:, self.in_channels :],)
