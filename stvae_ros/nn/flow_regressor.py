"""Flow regressor Theta: from the ConvLSTM's output to one motion vector a pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stvae_ros.nn.autoencoder import xavier
from stvae_ros.nn.huber import HuberSmoothness


class FlowRegressor(nn.Module):
    """15x15 convolution to 2 channels, 15x15 convolution 2->2, 1x1 convolution 2->2, then H.

    The 1x1 layer starts at zero, so an untrained network copies the last frame. Vectors are in pixels of
    the feature map, clamped to a quarter of its extent (half of the normalised [-1, 1] range: ±0.5).
    """

    def __init__(self, in_channels: int, kernel_size: int = 15, huber_weight: float = 1e-2) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.wide = nn.Conv2d(in_channels, 2, kernel_size, padding=padding, bias=False)
        self.smooth = nn.Conv2d(2, 2, kernel_size, padding=padding, bias=False)
        self.out = nn.Conv2d(2, 2, 1)
        xavier(self.wide)
        xavier(self.smooth)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)
        self.huber = HuberSmoothness(huber_weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, C, h, w) -> backward flow (B, 2, h, w) in feature-map pixels, float32, x first."""
        flow = self.out(self.smooth(self.wide(hidden))).float()
        height, width = flow.shape[-2:]
        limit = torch.tensor([(width - 1) / 4, (height - 1) / 4], device=flow.device).view(1, 2, 1, 1)
        clamped: Tensor = self.huber(torch.clamp(flow, -limit, limit))
        return clamped
