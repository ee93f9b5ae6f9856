"""SegNet (arXiv 1511.00561): an encoder-decoder whose decoder unpools with the pooling indices of the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from stvae_ros.nn.interface import State
from stvae_ros.nn.segmentation.interface import Segmentation, Segmenter, StagedStep

VGG_16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the convolutions of each encoder stage of SegNet, those of VGG-16."""
BASIC = ((64,), (64,), (64,), (64,))
"""The same of SegNet-Basic."""


class Pooling(NamedTuple):
    """What the decoder needs to undo a max-pooling: the indices of the maxima, and the size before pooling."""

    indices: Tensor
    height: int
    width: int


class SegNet(Segmenter):
    """SegNet and SegNet-Basic. They have no state and take odd sizes too.

    An encoder stage has convolutions and 2x2 max-pooling. A decoder stage has unpooling and the mirrored convolutions.

    Args:
        classes: K.
        stages: output channels of the convolutions of each encoder stage.
        kernel_size: of all convolutions but the classifier.
        decoder_relu: whether decoder stages have ReLUs; SegNet-Basic has none.
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
            # The last decoder stage mirrors the first encoder stage, but must not end in the 3 channels of a frame.
            mirrored = path[:0:-1] if channels == self.in_channels else path[::-1]
            decoder.append(_stage(mirrored if len(mirrored) > 1 else (*mirrored, path[1]), kernel_size, decoder_relu))
            channels = stage[-1]
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder[::-1])
        self.classifier = nn.Conv2d(stages[0][0], classes, 3, padding=1)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Return the empty tuple; see `Segmenter.initial_state`."""
        self.check_size(height, width)
        return ()

    def staged_step(self, frame: Tensor, state: State) -> StagedStep:
        """Yield after each encoder and decoder stage; see `Segmenter.staged_step`."""
        x, poolings = frame * 2 - 1, []
        for stage in self.encoder:
            x = stage(x)
            height, width = x.shape[-2:]
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            poolings.append(Pooling(indices, height, width))
            yield
        for stage, pooling in zip(self.decoder, reversed(poolings), strict=True):
            x = stage(unpool(x, pooling))
            yield
        return Segmentation(self.classifier(x).float()), state


def unpool(x: Tensor, pooling: Pooling) -> Tensor:
    """Put values (B, C, h, w) where the maxima were, (B, C, height, width), with zeros elsewhere.

    Unlike PyTorch's `max_unpool2d` it is deterministic on every device.
    """
    batch, channels = x.shape[:2]
    plane = x.new_zeros(batch, channels, pooling.height * pooling.width)
    plane = plane.scatter(2, pooling.indices.flatten(2), x.flatten(2))
    return plane.view(batch, channels, pooling.height, pooling.width)


def _stage(channels: Sequence[int], kernel_size: int, relu: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in pairwise(channels):
        # Batch normalisation has a bias, so the convolution needs none.
        convolution = nn.Conv2d(i, o, kernel_size, padding=kernel_size // 2, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(o), *([nn.ReLU(inplace=True)] if relu else [])]
    return nn.Sequential(*layers)
