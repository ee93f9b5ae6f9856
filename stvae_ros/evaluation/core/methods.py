"""Methods that predict frames: networks, copying, and extrapolation of classical flow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from stvae_ros.evaluation.core.classical_flow import FlowFunction, classical_flows, grey
from stvae_ros.evaluation.core.loop import Sample
from stvae_ros.streaming import Frame, StepResult, StreamingPredictor
from stvae_ros.streaming.flow import Flow, Image, invert_flow, move


class Forecast(NamedTuple):
    """What a method predicts after a frame; flows are (H, W, 2) in pixels, None from a method without.

    Args:
        images: predicted frames by how many frames ahead they are.
        flow: forward flow to the next frame, on this frame's grid.
        backward: backward flow from the next frame to this one, on the next frame's grid.
        observed: backward flow to the last frame, on this frame's grid.
        rollout_milliseconds: the part of the method's time that went into frames after the next one.
    """

    images: Mapping[int, Image]
    flow: Flow | None = None
    backward: Flow | None = None
    observed: Flow | None = None
    rollout_milliseconds: float = 0.0


Predict = Callable[[Sample], Forecast]
"""Takes the samples of a stream one by one."""


class Reference(Protocol):
    """A method to compare networks with."""

    def __call__(self, sample: Sample) -> Forecast:
        """Take the next sample of a stream."""
        ...

    def reset(self) -> None:
        """Forget all samples."""
        ...


class Camera:
    """A streaming predictor on one camera. It is run as in the node, and is warmed up first."""

    def __init__(self, predictor: StreamingPredictor) -> None:
        self.predictor = predictor
        predictor.warm_up()

    def step(self, sample: Sample) -> StepResult:
        """Take the next sample of the stream."""
        result = self.predictor.step({"camera": Frame(sample.image, sample.stamp)})["camera"]
        assert result is not None, "two consecutive samples have the same stamp"
        return result


class Network(Camera):
    """A network as a method of prediction.

    Attributes:
        result: the step's result for the last sample, as in a node that predicts the next frame.
    """

    result: StepResult

    def __call__(self, sample: Sample) -> Forecast:
        """Take the next sample of a stream."""
        self.predictor.horizon = max(sample.ahead, default=1)
        full = self.step(sample)
        self.result = replace(full, views=full.views[:1])
        images, flow = {1: self.result.prediction}, self.result.flow
        start = time.perf_counter()
        images |= {step: full.views[step - 1].next_image for step in sample.ahead if step > 1}
        rollout = self.predictor.rollout_seconds + time.perf_counter() - start
        return Forecast(images, flow, self.result.backward_flow, self.result.observed_flow, rollout * 1e3)


class CopyLast:
    """Predicts that nothing moves."""

    def __call__(self, sample: Sample) -> Forecast:
        """Take the next sample of a stream."""
        zeros = np.zeros((*sample.image.shape[:2], 2), np.float32)
        return Forecast(dict.fromkeys(sample.ahead, sample.image), zeros, zeros, zeros)

    def reset(self) -> None:
        """There is no memory."""


class Extrapolation:
    """Predicts that the flow between the last two frames goes on.

    The flow from frame t to frame t-1 is on the grid of t. Its negative leads to t+1. Inverted, that flow samples t+1
    from t. A multiple of it leads to later frames. The first frame is copied. Flow is measured only if a prediction
    is asked for.
    """

    def __init__(self, flow: FlowFunction) -> None:
        self._flow = flow
        self._last: Image | None = None

    def __call__(self, sample: Sample) -> Forecast:
        """Take the next sample of a stream."""
        image, current = sample.image, grey(sample.image)
        last, self._last = self._last, current
        if last is None or not sample.ahead:
            return Forecast(dict.fromkeys(sample.ahead, image))
        observed = self._flow(current, last)
        backward = invert_flow(-observed)
        images = {1: move(image, backward)}
        start = time.perf_counter()
        images |= {step: move(image, invert_flow(-step * observed)) for step in sample.ahead if step > 1}
        return Forecast(images, -observed, backward, observed, (time.perf_counter() - start) * 1e3)

    def reset(self) -> None:
        """Forget the last frame."""
        self._last = None


def references() -> dict[str, Reference]:
    """Copying, and the extrapolation of every classical flow; each without memory."""
    return {"copy last": CopyLast(), **{name: Extrapolation(flow) for name, flow in classical_flows().items()}}
