"""The loop of every evaluation: each frame of a stream is given to each method in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from stvae_ros.streaming.flow import Flow, Image
from stvae_ros.streaming.labels import LabelMap

WARM_UP = 2
"""Results for the first frames of a stream do not count, since motion is visible from the second frame on."""
PERIOD = 33_333_333
"""Nanoseconds between frames that come without stamps."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A frame of a stream and what is known about it.

    Args:
        image: (H, W), (H, W, 3) BGR, or an event image (H, W, C); uint8.
        stamp: in nanoseconds; no two consecutive frames have the same.
        ahead: which frames to predict; 1 is the next frame.
        flow: true forward flow to the next frame, (H, W, 2) in pixels.
        observed: true backward flow to the last frame, (H, W, 2) in pixels.
        labels: labels of the frame, (h, w).
        moving: whether each pixel shows something that moves by itself, (H, W).
    """

    image: Image
    stamp: int
    ahead: Sequence[int] = (1,)
    flow: Flow | None = None
    observed: Flow | None = None
    labels: LabelMap | None = None
    moving: NDArray[np.bool_] | None = None


S = TypeVar("S", bound=Sample)
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Shown(Generic[S, R]):
    """A sample and the results of all methods for it.

    Args:
        index: number of the sample in its stream, from 0.
        sample: the sample.
        results: the result of each method, by name.
        milliseconds: the time that each method took.
        counts: whether the warm-up is over.
    """

    index: int
    sample: S
    results: Mapping[str, R]
    milliseconds: Mapping[str, float]
    counts: bool


def show(
    samples: Iterable[S], methods: Mapping[str, Callable[[S], R]], warm_up: int = WARM_UP
) -> Iterator[Shown[S, R]]:
    """Give every sample of a stream to every method.

    Args:
        samples: the stream.
        methods: the methods by name. Each keeps its own memory of the stream. They are called in order.
        warm_up: results for so many samples do not count.
    """
    for index, sample in enumerate(samples):
        results, milliseconds = {}, {}
        for name, method in methods.items():
            start = time.perf_counter()
            results[name] = method(sample)
            milliseconds[name] = (time.perf_counter() - start) * 1e3
        yield Shown(index, sample, results, milliseconds, index >= warm_up)
