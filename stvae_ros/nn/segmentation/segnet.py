"""SegNet (arXiv 1511.00561): an encoder whose pooling indices tell the decoder where its maxima were."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from stvae_ros.nn.interface import State
from stvae_ros.nn.segmentation.interface import Pieces, Segmentation, Segmenter

VGG_16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the convolutions of each stage; the decoder mirrors them."""
BASIC = ((64,), (64,), (64,), (64,))


class SegNet(Segmenter):
    """Encoder stages of convolutions and 2x2 max-pooling; decoder stages that put values back where the maxima were.

    classes: K. stages: output channels of the convolutions of every encoder stage. kernel_size: of all of them.
    decoder_relu: the small variant, SegNet-Basic, has no non-linearity in its decoder.
    Without memory. Any frame of at least 2 to the power of the number of stages does, odd sizes included.
    """

    def __init__(
        self, classes: int, stages: Sequence[Sequence[int]], kernel_size: int = 3, decoder_relu: bool = True
    ) -> None:
        super().__init__()
        self.classes, self.min_size = classes, 2 ** len(stages)
        encoder, decoder, channels = [], [], self.in_channels
        for stage in stages:
            path = (channels, *stage)
            encoder.append(_stage(path, kernel_size))
            # The first stage of the encoder is the last of the decoder, which must not end in 3 channels.
            back = path[:0:-1] if channels == self.in_channels else path[::-1]
            decoder.append(_stage(back if len(back) > 1 else (*back, path[1]), kernel_size, decoder_relu))
            channels = stage[-1]
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder[::-1])
        self.classifier = nn.Conv2d(stages[0][0], classes, 3, padding=1)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Nothing; raises ValueError for a frame that is too small."""
        self.check_size(height, width)
        return ()

    def pieces(self, frame: Tensor, state: State) -> Pieces:
        """A piece is a stage of the encoder or of the decoder."""
        x, pooled = frame * 2 - 1, []
        for stage in self.encoder:
            x = stage(x)
            height, width = x.shape[-2:]
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            pooled.append((indices, height, width))
            yield
        for stage, (indices, height, width) in zip(self.decoder, reversed(pooled), strict=True):
            x = stage(unpool(x, indices, height, width))
            yield
        return Segmentation(self.classifier(x).float()), state


def unpool(x: Tensor, indices: Tensor, height: int, width: int) -> Tensor:
    """Values (B, C, h, w) back to where the maxima were, (B, C, height, width), zeros elsewhere.

    indices: of `max_pool2d`, in the plane of height x width. Unlike PyTorch's own it is deterministic on every device.
    """
    batch, channels = x.shape[:2]
    plane = x.new_zeros(batch, channels, height * width)
    return plane.scatter(2, indices.flatten(2), x.flatten(2)).view(batch, channels, height, width)


def _stage(channels: Sequence[int], kernel_size: int, relu: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in pairwise(channels):
        # The bias is that of the normalisation.
        convolution = nn.Conv2d(i, o, kernel_size, padding=kernel_size // 2, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(o), *([nn.ReLU(inplace=True)] if relu else [])]
    return nn.Sequential(*layers)
