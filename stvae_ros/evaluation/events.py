"""Evaluation of networks that see events: next event image, flow where it is known, and sharpness of real events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.core.classical_flow import grey
from stvae_ros.evaluation.core.loop import PERIOD, Sample, show
from stvae_ros.evaluation.core.methods import CopyLast, Forecast, Predict
from stvae_ros.evaluation.core.metrics import end_point_error, psnr
from stvae_ros.evaluation.core.scores import Score
from stvae_ros.events.arrays import Events, windows_of_time
from stvae_ros.events.images import EventImage
from stvae_ros.events.readers import EventRecording
from stvae_ros.events.simulator import EventModel, EventSimulator
from stvae_ros.nn.interface import FramePredictor, State
from stvae_ros.runtime.device import DTYPES, cast_weights, resolve_device, resolve_precision
from stvae_ros.streaming.flow import Flow, Image, invert_flow

Span = tuple[Events, int, int]
"""Events, and the start and end of their window in nanoseconds."""


@dataclass(frozen=True, eq=False)
class EventSample(Sample):
    """An event image and, of a recording, its events.

    Args:
        events: the events of the window; None for simulated events.
    """

    events: Span | None = None


class EventNetwork:
    """A network on the event images of one camera.

    Images keep their own resolution, since scaling would average counts.

    Args:
        network: the network.
        shown: how events are drawn for it.
        device: see `resolve_device`.
        precision: see `resolve_precision`.
    """

    def __init__(
        self, network: FramePredictor, shown: EventImage, device: str = "auto", precision: str = "auto"
    ) -> None:
        self._device = resolve_device(device)
        self._dtype = DTYPES[resolve_precision(precision, self._device)]
        self._network = cast_weights(network.eval().to(self._device), self._dtype)
        self._background = background(shown) / 255
        self._state: State | None = None

    @torch.inference_mode()
    def __call__(self, sample: Sample) -> Forecast:
        """Take the next sample of a stream."""
        height, width = sample.image.shape[:2]
        frame = torch.from_numpy(sample.image).to(self._device).permute(2, 0, 1)[None].float() / 255
        multiple = self._network.size_multiple
        frame = F.pad(frame, (0, -width % multiple, 0, -height % multiple), value=self._background)
        if self._state is None:
            self._state = self._network.initial_state(1, *frame.shape[-2:])
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            prediction, self._state = self._network.step(frame, self._state)

        def to_host(tensor: torch.Tensor) -> NDArray[np.generic]:
            return tensor[0, :, :height, :width].permute(1, 2, 0).contiguous().cpu().numpy()

        def flow_to_host(flow: torch.Tensor | None) -> Flow:
            if flow is None:
                return np.zeros((height, width, 2), np.float32)
            return np.asarray(to_host(flow.float()), np.float32)

        drawn = np.asarray(to_host(prediction.frame.float().clamp(0, 1).mul(255).round().byte()), np.uint8)
        backward = flow_to_host(prediction.flow)
        return Forecast({1: drawn}, invert_flow(backward), backward, flow_to_host(prediction.observed_flow))


def background(shown: EventImage) -> int:
    """Grey level of a pixel without events."""
    return 128 if shown.channels == 1 else 0


def event_methods(network: EventNetwork, shown: EventImage) -> dict[str, Predict]:
    """The network, copying the last event image, and predicting an image without events."""

    def predict_none(sample: Sample) -> Forecast:
        return Forecast({1: np.full_like(sample.image, background(shown))})

    return {"network": network, "copy last": CopyLast(), "empty image": predict_none}


def simulated(frames: Iterable[Image], shown: EventImage, model: EventModel) -> Iterator[EventSample]:
    """The events between frames, (H, W) or (H, W, 3) uint8."""
    return _simulate(((frame, None) for frame in frames), shown, model)


def simulated_scene(seed: int, size: tuple[int, int], shown: EventImage, model: EventModel) -> Iterator[EventSample]:
    """The events of a synthetic scene with its true flow, without end.

    Args:
        seed: of the scene.
        size: (width, height).
        shown: how events are drawn.
        model: of the event camera.
    """

    def frames() -> Iterator[tuple[Image, Flow | None]]:
        scene, t = SyntheticScene(seed, *size), 0
        while True:
            yield scene.frame(t), scene.truth(t).forward_flow
            t += 1

    return _simulate(frames(), shown, model)


def _simulate(
    frames: Iterable[tuple[Image, Flow | None]], shown: EventImage, model: EventModel
) -> Iterator[EventSample]:
    """Simulate the events of frames, each with its flow to the next frame."""
    simulator = EventSimulator(model)
    for t, (frame, flow) in enumerate(frames):
        step = simulator.step(grey(frame), t * PERIOD)
        if step is not None:
            yield EventSample(shown.of_counts(step.counts), t * PERIOD, flow=flow)


def recorded(recording: EventRecording, shown: EventImage, hot: float = 0.0) -> Iterator[EventSample]:
    """The windows of a recording.

    Args:
        recording: an event camera's recording.
        shown: how events are drawn, and the length of the windows.
        hot: share of `hot_pixels`. Their events are in the images, but not in `EventSample.events`.
    """
    left_out = hot_pixels(recording, hot)
    for window in windows_of_time(recording.read(), round(shown.window * 1e6)):
        events = window.events
        kept = events[~left_out[events.y * recording.width + events.x]]
        image = shown.draw(events, recording.height, recording.width)
        yield EventSample(image, window.end, events=(kept, window.start, window.end))


def hot_pixels(recording: EventRecording, share: float) -> NDArray[np.bool_]:
    """The pixels with the most events of a recording; most of them are defects.

    They fire whatever the camera sees, and their many events dominate the variance of an image.

    Args:
        recording: an event camera's recording.
        share: share of all pixels to find.

    Returns:
        Whether each pixel is hot, (H * W).
    """
    counts = np.zeros(recording.height * recording.width, np.int64)
    for events in recording.read():
        counts += np.bincount(events.y * recording.width + events.x, minlength=len(counts))
    found = np.zeros(len(counts), np.bool_)
    found[np.argsort(counts, kind="stable")[len(counts) - round(share * len(counts)) :]] = True
    return found


def evaluate_events(
    samples: Iterable[EventSample], methods: Mapping[str, Predict], shown: EventImage, span: int = 3
) -> dict[str, Score]:
    """Compare the forecasts of a stream of event images with what comes next.

    Figures:

    - ``psnr``: PSNR in dB of the next event image;
    - ``epe``, ``epe_all``: end-point error in pixels of the flow to the next frame, where there are events, and
      everywhere;
    - ``variance_predicted``, ``variance_observed``: variance of the image of events (see `warped_image`), moved by the
      flow predicted before they came, and by the flow observed with them.

    Args:
        samples: the stream.
        methods: the methods by name; those without flow have only the first figure.
        shown: how events are drawn.
        span: number of windows of events that are moved together.

    Returns:
        A score for each method.
    """
    scores = {name: Score() for name in methods}
    windows: deque[Span] = deque(maxlen=span)
    forecasts: Mapping[str, Forecast] = {}
    for step in show(samples, methods):
        sample = step.sample
        if sample.events is not None:
            windows.append(sample.events)
        fired = (sample.image != background(shown)).any(axis=2)
        for name, forecast in step.results.items():
            score = scores[name]
            if name in forecasts:
                score["psnr"].append(psnr(forecasts[name].images[1], sample.image))
                _add_variances(score, windows, forecasts[name].backward, forecast.observed)
            if step.counts and sample.flow is not None and forecast.flow is not None:
                score["epe_all"].append(end_point_error(forecast.flow, sample.flow))
                if fired.any():
                    score["epe"].append(end_point_error(forecast.flow, sample.flow, fired))
        forecasts = step.results if step.counts else {}
    return scores


def _add_variances(score: Score, windows: Sequence[Span], predicted: Flow | None, observed: Flow | None) -> None:
    if predicted is None or observed is None or not any(len(events) for events, _, _ in windows):
        return
    score["variance_predicted"].append(float(warped_image(windows, predicted).var()))
    score["variance_observed"].append(float(warped_image(windows, observed).var()))


def warped_image(windows: Sequence[Span], backward: Flow) -> NDArray[np.float64]:
    """Counts of events per pixel after all events have moved along a flow to the end of the last window.

    The variance of this image is large where the events of one edge come together (Gallego et al., CVPR 2018). Events
    of both polarities count alike. Each goes to the nearest pixel: bilinear weights would blur those that move, but
    not those that stand still.

    Args:
        windows: consecutive windows of events.
        backward: backward flow of the last window on its grid, (H, W, 2) in pixels per window.

    Returns:
        The counts, (H, W).
    """
    height, width = backward.shape[:2]
    events = Events.join(part for part, _, _ in windows)
    _, start, end = windows[-1]
    passed = ((end - events.t) / (end - start))[:, None]
    place = np.rint(np.stack([events.x, events.y], axis=1) - passed * backward[events.y, events.x]).astype(np.int64)
    x, y = place[((place >= 0) & (place < (width, height))).all(axis=1)].T
    return np.bincount(y * width + x, minlength=height * width).reshape(height, width).astype(np.float64)
