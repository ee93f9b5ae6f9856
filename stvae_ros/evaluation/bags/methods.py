"""Our networks and what they are compared with, as they are shown the frames of a bag."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stvae_ros.evaluation.bags.frames import BagFrame
from stvae_ros.evaluation.baselines import FlowExtrapolation, FlowFunction, dis_flow, farneback_flow, grey
from stvae_ros.streaming import Frame, StepResult, StreamingPredictor
from stvae_ros.streaming.flow import Flow, Image, move

HORIZONS = (1, 2, 5)
"""Frames ahead that are measured."""


class Forecast(NamedTuple):
    """What a method says after a frame.

    images: frames to come, by how many ahead. moved: the frame moved by the flow to the next, flow: forward flow to it,
    (H, W, 2) in pixels; None if the next frame was not asked for. milliseconds: for the next frame and its flow.
    """

    images: dict[int, Image]
    moved: Image | None
    flow: Flow | None
    milliseconds: float


class Method(Protocol):
    """Is shown every frame of a stream; told which frames ahead to predict, if any."""

    def show(self, frame: BagFrame, steps: Sequence[int]) -> Forecast:
        """Take a frame."""
        ...

    def reset(self) -> None:
        """Forget all frames."""
        ...


@dataclass
class Ours:
    """A network, run as the node runs it.

    motion: what came of the last frame, as in a node that predicts the next frame; None if its stamp was repeated.
    """

    predictor: StreamingPredictor
    motion: StepResult | None = None

    def show(self, frame: BagFrame, steps: Sequence[int]) -> Forecast:
        """See `Method.show`."""
        self.predictor.horizon = max(steps, default=1)
        start = time.perf_counter()
        full = self.predictor.step({"camera": Frame(frame.image, frame.stamp)})["camera"]
        if full is None:
            self.motion = None
            return Forecast({}, None, None, 0.0)
        self.motion = replace(full, views=full.views[:1])
        images = {1: self.motion.prediction}
        flow = self.motion.flow
        elapsed = time.perf_counter() - start - self.predictor.rollout_seconds
        images |= {step: full.views[step - 1].next_image for step in steps if step > 1}
        moved = np.asarray(move(frame.image, self.motion.backward_flow), np.uint8) if 1 in steps else None
        return Forecast(images, moved, flow, elapsed * 1e3)

    def reset(self) -> None:
        """The predictor has rules of its own for that."""


class CopyLast:
    """The last frame, without motion."""

    def show(self, frame: BagFrame, steps: Sequence[int]) -> Forecast:
        """See `Method.show`."""
        nothing = np.zeros((*frame.image.shape[:2], 2), np.float32)
        return Forecast(dict.fromkeys(steps, frame.image), frame.image, nothing, 0.0)

    def reset(self) -> None:
        """There is nothing to forget."""


class Extrapolation:
    """The last frame moved on by the flow that was seen last."""

    def __init__(self, flow: FlowFunction) -> None:
        self.function = flow
        self.reset()

    def show(self, frame: BagFrame, steps: Sequence[int]) -> Forecast:
        """See `Method.show`."""
        start = time.perf_counter()
        self._extrapolation.observe(frame.image, measure=bool(steps))
        images = {step: self._extrapolation.ahead(frame.image, step) for step in steps[:1]}
        elapsed = time.perf_counter() - start
        images |= {step: self._extrapolation.ahead(frame.image, step) for step in steps[1:]}
        return Forecast(images, images.get(1), self._extrapolation.forward, elapsed * 1e3)

    def reset(self) -> None:
        """Forget the last frame."""
        self._extrapolation = FlowExtrapolation(self.function)


def bag_references() -> dict[str, Method]:
    """Copying, and the best of the classical flows."""
    return {
        "copy last": CopyLast(),
        "DIS medium": Extrapolation(dis_flow("medium")),
        "Farneback": Extrapolation(farneback_flow),
    }


def moving_pixels(image: Image, last: Image, threshold: float) -> NDArray[np.bool_]:
    """Where DIS medium sees motion of ``threshold`` pixels or more from the last frame to this one, (H, W)."""
    if min(image.shape[:2]) < 16:
        return np.zeros(image.shape[:2], bool)
    flow = dis_flow("medium")(grey(image), grey(last))
    return np.asarray(np.hypot(flow[..., 0], flow[..., 1]) >= threshold)
