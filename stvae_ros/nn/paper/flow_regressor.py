"""Flow regressor Theta: from the output of the memory to one motion vector a pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stvae_ros.nn.layers.huber import HuberSmoothness
from stvae_ros.nn.layers.portable import portable
from stvae_ros.nn.layers.warp import vector
from stvae_ros.nn.paper.autoencoder import xavier


class FlowRegressor(nn.Module):
    """15x15 convolution to 2 channels, 15x15 convolution 2->2, 1x1 convolution 2->2, then H.

    The 1x1 layer starts at zero, so an untrained network copies the last frame. Vectors are in pixels of
    the feature map, clamped to a quarter of its extent (half of the normalised [-1, 1] range: ±0.5).

    bias: biases in the 15x15 layers too. scale: a learnt factor for each axis (`conv-1enc-1lstm` has both).
    recurrent: against flicker, the flow is a mixture, learnt for each pixel and axis, of what the layers say
    and of the last flow; the paper names a recurrent regressor as missing.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int = 15,
        huber_weight: float = 1e-2,
        bias: bool = False,
        scale: bool = False,
        recurrent: bool = False,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.wide = nn.Conv2d(in_channels, 2, kernel_size, padding=padding, bias=bias)
        self.smooth = nn.Conv2d(2, 2, kernel_size, padding=padding, bias=bias)
        self.out = nn.Conv2d(2, 2, 1)
        xavier(self.wide)
        xavier(self.smooth)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)
        self.scale = nn.Parameter(torch.ones(2)) if scale else None
        self.keep = None
        if recurrent:
            self.keep = nn.Conv2d(4, 2, 3, padding=1)
            xavier(self.keep)
            assert self.keep.bias is not None
            nn.init.constant_(self.keep.bias, -2.0)  # Training starts with an eighth of the last flow.
        self.huber = HuberSmoothness(huber_weight)

    def forward(self, hidden: Tensor, last: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> backward flow (B, 2, h, w) in feature-map pixels, float32, x first.

        last: the flow of the last step, of the same shape, which a recurrent regressor needs.
        """
        flow = self.out(self.smooth(self.wide(hidden))).float()
        if self.scale is not None:
            flow = flow * self.scale.view(1, 2, 1, 1)
        if self.keep is not None and last is not None:
            flow = torch.lerp(flow, last, torch.sigmoid(self.keep(torch.cat([flow, last], dim=1)).float()))
        height, width = flow.shape[-2:]
        if portable():
            x, y = (width - 1) / 4, (height - 1) / 4
            return torch.cat([flow[:, :1].clamp(-x, x), flow[:, 1:].clamp(-y, y)], dim=1)
        limit = vector((width - 1) / 4, (height - 1) / 4, flow.device)
        clamped: Tensor = self.huber(torch.clamp(flow, -limit, limit))
        return clamped
