"""Flow regressor Theta (arXiv 1511.06309, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stvae_ros.nn.layers.huber import HuberSmoothness
from stvae_ros.nn.layers.portable import portable
from stvae_ros.nn.layers.warp import vector
from stvae_ros.nn.paper.autoencoder import xavier


class FlowRegressor(nn.Module):
    """One motion vector per pixel of the feature map: two 15x15 convolutions, a 1x1 convolution, then H.

    The 1x1 convolution starts at zero, so an untrained network copies the last frame. The flow is clamped to a quarter
    of the size of the feature map, which is 0.5 in the normalised range [-1, 1].

    Args:
        in_channels: channels of the hidden state.
        kernel_size: of the first two convolutions.
        huber_weight: w_H of the smoothness layer H.
        bias: whether the first two convolutions have biases (`conv-1enc-1lstm`).
        scale: whether each axis has a learnt scale (`conv-1enc-1lstm`).
        recurrent: whether the flow is a mixture of the regressed and the last flow, with a learnt weight per pixel and
            axis. The paper names a recurrent regressor as future work against flicker.
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
            nn.init.constant_(self.keep.bias, -2.0)  # The initial weight of the last flow is sigmoid(-2), about 1/8.
        self.huber = HuberSmoothness(huber_weight)

    def forward(self, hidden: Tensor, last_flow: Tensor | None = None) -> Tensor:
        """Regress the backward flow.

        Args:
            hidden: hidden state of the memory, (B, C, h, w).
            last_flow: result of the last step; None for a regressor that is not recurrent.

        Returns:
            (B, 2, h, w) float32 in pixels of the feature map, x first.
        """
        flow = self.out(self.smooth(self.wide(hidden))).float()
        if self.scale is not None:
            flow = flow * self.scale.view(1, 2, 1, 1)
        if self.keep is not None and last_flow is not None:
            weight = torch.sigmoid(self.keep(torch.cat([flow, last_flow], dim=1)).float())
            flow = torch.lerp(flow, last_flow, weight)
        smooth: Tensor = self.huber(_clamp(flow))
        return smooth


def _clamp(flow: Tensor) -> Tensor:
    x, y = (flow.shape[-1] - 1) / 4, (flow.shape[-2] - 1) / 4
    if portable():
        return torch.cat([flow[:, :1].clamp(-x, x), flow[:, 1:].clamp(-y, y)], dim=1)
    limit = vector(x, y, flow.device)
    return torch.clamp(flow, -limit, limit)
