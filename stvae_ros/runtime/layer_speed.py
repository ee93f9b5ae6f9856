"""How much faster the layers of a network are in bf16 than in fp32, found out in a given time."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import FramePredictor

_CLEAR = (0.8, 1.6)
"""Speedups beyond these need no further runs."""
_RUNS = 50
_WORK = 4e9
"""Most multiplications of a convolution that is timed; where one has more, all get fewer rows."""

Layer = tuple[nn.Module, list[int]]
"""A layer, and the shape of what goes into it."""
_Note = Callable[[nn.Module, tuple[Tensor, ...]], None]


class TimeUp(Exception):
    """The time for measuring is over, and what was to be measured is not known."""


@contextmanager
def before_each_layer(network: FramePredictor, end: float, note: _Note = lambda layer, args: None) -> Iterator[None]:
    """Call ``note`` with each convolution and linear layer that is run, and what goes in; raise TimeUp after ``end``.

    end: as of `time.perf_counter`.
    """

    def look(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        if time.perf_counter() > end:
            raise TimeUp
        note(layer, args)

    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def inputs_of_layers(network: FramePredictor, frame: Tensor, size: tuple[int, int], end: float) -> list[Layer]:
    """Each convolution and linear layer, and the shape of what goes into it for frames of ``size``.

    frame: (1, C, H, W), a small one, which takes less time than one of ``size`` would. Raises TimeUp after ``end``.
    """
    scale = (size[1] / frame.shape[-2], size[0] / frame.shape[-1])
    found: list[Layer] = []

    def note(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        shape = list(args[0].shape)
        if isinstance(layer, nn.Conv2d):
            shape[-2:] = (round(length * factor) for length, factor in zip(shape[-2:], scale, strict=True))
        found.append((layer, shape))

    with before_each_layer(network, end, note):
        network.step(frame, network.initial_state(1, *frame.shape[-2:]))
    return found


def fewer_rows(layers: list[Layer]) -> list[Layer]:
    """The same with so few rows that no convolution has more than `_WORK` multiplications, and all the same share."""
    work = [
        layer.weight.numel() * math.prod(shape[-2:]) / math.prod(layer.stride)
        for layer, shape in layers
        if isinstance(layer, nn.Conv2d)
    ]
    share = min(1.0, _WORK / max(work, default=_WORK))

    def fewer(layer: nn.Module, shape: list[int]) -> list[int]:
        if not isinstance(layer, nn.Conv2d):
            return shape
        rows = max(round(shape[-2] * share), min(shape[-2], layer.kernel_size[0]))
        return [*shape[:-2], rows, shape[-1]]

    return [(layer, fewer(layer, shape)) for layer, shape in layers]


def speedup_in_bf16(layers: list[Layer], device: torch.device, enough: float, end: float) -> float:
    """Time of the layers in fp32 over that in bf16, of the best of several runs each, which take turns.

    enough: time after which no further layer is timed, once each of them has been. Raises TimeUp after ``end``.
    """
    pairs: list[tuple[dict[torch.dtype, nn.Module], Tensor]] = []
    best: dict[torch.dtype, dict[int, float]] = {torch.float32: {}, torch.bfloat16: {}}

    def take_time(index: int) -> None:
        both, x = pairs[index]
        for dtype, layer in both.items():
            start = time.perf_counter()
            layer(x.to(dtype))
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best[dtype][index] = min(best[dtype].get(index, float("inf")), time.perf_counter() - start)

    def speedup() -> float:
        return sum(best[torch.float32].values()) / sum(best[torch.bfloat16].values())

    for layer, shape in fewer_rows(layers):
        if time.perf_counter() > end:
            raise TimeUp
        both = {torch.float32: layer, torch.bfloat16: copy.deepcopy(layer).bfloat16()}
        pairs.append((both, torch.rand(shape, device=device)))
        take_time(len(pairs) - 1)  # This also makes kernels ready.
    for run in range(1, _RUNS):
        for index in range(len(pairs)):
            if time.perf_counter() > enough:
                return speedup()
            take_time(index)
        if run >= 2 and not _CLEAR[0] < speedup() < _CLEAR[1]:
            break
    return speedup()
