"""Networks that see events: the next event image, flow where it is known, and how sharp it makes real events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.baselines import grey
from stvae_ros.evaluation.metrics import end_point_error, psnr
from stvae_ros.events.arrays import Events, windows_of_time
from stvae_ros.events.images import EventImage
from stvae_ros.events.readers import EventRecording
from stvae_ros.events.simulator import EventModel, EventSimulator
from stvae_ros.nn.interface import FramePredictor, State
from stvae_ros.runtime.device import DTYPES, cast_weights, resolve_device, resolve_precision
from stvae_ros.streaming.flow import Flow, Image, invert_flow

WARM_UP = 3
"""Event images whose predictions do not count."""
_PERIOD = 33_333_333


Span = tuple[Events, int, int]
"""Events, and when their window starts and ends, in nanoseconds."""


class SeenEvents(NamedTuple):
    """Events of one span of time, and what is known of it.

    image: of `EventImage`, (H, W, C). forward: true motion to the next, (H, W, 2) pixels, None where nobody knows.
    events: the events themselves, None of simulated ones.
    """

    image: Image
    forward: Flow | None = None
    events: Span | None = None


class Forecast(NamedTuple):
    """The next event image (H, W, C), backward flow to it, and backward flow from the last to this one (H, W, 2)."""

    image: Image
    backward: Flow
    observed: Flow | None


@dataclass
class EventScore:
    """A value an event image for each.

    psnr, copy, empty: in dB, of the network's next event image, of this one again, and of one without events. errors,
    zero: end-point error in pixels of the predicted forward flow and of none, where there are events; errors_all,
    zero_all: everywhere. variances: of the image of events as they are, moved by the flow predicted before they came,
    and by the flow observed with them.
    """

    psnr: list[float] = field(default_factory=list)
    copy: list[float] = field(default_factory=list)
    empty: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    zero: list[float] = field(default_factory=list)
    errors_all: list[float] = field(default_factory=list)
    zero_all: list[float] = field(default_factory=list)
    variances: list[tuple[float, float, float]] = field(default_factory=list)


class EventPredictor:
    """A network on the event images of one camera, at their own resolution: counts are not to be averaged."""

    def __init__(
        self, network: FramePredictor, shown: EventImage, device: str = "auto", precision: str = "auto"
    ) -> None:
        self._device = resolve_device(device)
        self._dtype = DTYPES[resolve_precision(precision, self._device)]
        self._network = cast_weights(network.eval().to(self._device), self._dtype)
        self._none = (128 if shown.channels == 1 else 0) / 255
        self._state: State | None = None

    @torch.inference_mode()
    def step(self, image: Image) -> Forecast:
        """Take an event image, (H, W, C)."""
        height, width = image.shape[:2]
        frame = torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None].float() / 255
        multiple = self._network.size_multiple
        frame = F.pad(frame, (0, -width % multiple, 0, -height % multiple), value=self._none)
        if self._state is None:
            self._state = self._network.initial_state(1, *frame.shape[-2:])
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            prediction, self._state = self._network.step(frame, self._state)
        drawn = prediction.frame[0, :, :height, :width].float().clamp(0, 1).mul(255).round().byte()

        def to_host(flow: torch.Tensor | None) -> Flow | None:
            if flow is None:
                return None
            return flow[0, :, :height, :width].float().permute(1, 2, 0).contiguous().cpu().numpy()

        backward = to_host(prediction.flow)
        if backward is None:
            backward = np.zeros((height, width, 2), np.float32)
        picture = np.ascontiguousarray(drawn.permute(1, 2, 0).cpu().numpy())
        return Forecast(picture, backward, to_host(prediction.observed_flow))


def simulated(frames: Iterable[Image], shown: EventImage, model: EventModel) -> Iterator[SeenEvents]:
    """The events between frames, (H, W) or (H, W, 3)."""
    simulator = EventSimulator(model)
    for t, frame in enumerate(frames):
        made = simulator.step(grey(frame), t * _PERIOD)
        if made is not None:
            yield SeenEvents(shown.of_counts(made.counts))


def simulated_scene(seed: int, size: tuple[int, int], shown: EventImage, model: EventModel) -> Iterator[SeenEvents]:
    """The events of a synthetic scene, without end, with the true motion from each frame to the next."""
    scene, simulator, t = SyntheticScene(seed, *size), EventSimulator(model), 0
    while True:
        made = simulator.step(grey(scene.frame(t)), t * _PERIOD)
        if made is not None:
            yield SeenEvents(shown.of_counts(made.counts), scene.truth(t).forward_flow)
        t += 1


def recorded(recording: EventRecording, shown: EventImage, hot: float = 0.0) -> Iterator[SeenEvents]:
    """The windows of a recording. hot: see `hot_pixels`; their events are in the images, not in `SeenEvents.events`."""
    left_out = hot_pixels(recording, hot)
    for window in windows_of_time(recording.read(), round(shown.window * 1e6)):
        events = window.events
        kept = events[~left_out[events.y * recording.width + events.x]]
        image = shown.draw(events, recording.height, recording.width)
        yield SeenEvents(image, None, (kept, window.start, window.end))


def hot_pixels(recording: EventRecording, share: float) -> NDArray[np.bool_]:
    """The pixels with the most events of the whole recording, a ``share`` of all, (H * W): most of them are defects.

    They fire whatever is seen, and by their many events rule the variance of an image that does not move.
    """
    counts = np.zeros(recording.height * recording.width, np.int64)
    for events in recording.read():
        counts += np.bincount(events.y * recording.width + events.x, minlength=len(counts))
    found = np.zeros(len(counts), np.bool_)
    found[np.argsort(counts, kind="stable")[len(counts) - round(share * len(counts)) :]] = True
    return found


def evaluate_events(
    seen: Iterable[SeenEvents], predictor: EventPredictor, shown: EventImage, span: int = 3
) -> EventScore:
    """Show the event images of a stream one by one; the predictions of the first `WARM_UP` do not count.

    span: how many windows of events are moved together.
    """
    score = EventScore()
    windows: deque[Span] = deque(maxlen=span)
    last: tuple[Image, Forecast] | None = None
    for index, now in enumerate(seen):
        forecast = predictor.step(now.image)
        if now.events is not None:
            windows.append(now.events)
        if last is not None and index > WARM_UP:
            image, expected = last
            score.psnr.append(psnr(expected.image, now.image))
            score.copy.append(psnr(image, now.image))
            score.empty.append(psnr(np.full_like(image, 128 if shown.channels == 1 else 0), now.image))
            if windows and any(len(events) for events, _, _ in windows):
                score.variances.append(_variances(windows, expected.backward, forecast.observed))
        if now.forward is not None and index >= WARM_UP:
            _add_errors(score, now, forecast.backward, shown)
        last = (now.image, forecast)
    return score


def _add_errors(score: EventScore, now: SeenEvents, backward: Flow, shown: EventImage) -> None:
    assert now.forward is not None
    flow, none = invert_flow(backward), np.zeros_like(now.forward)
    fired = (now.image != (128 if shown.channels == 1 else 0)).any(axis=2)
    score.errors_all.append(end_point_error(flow, now.forward))
    score.zero_all.append(end_point_error(none, now.forward))
    if fired.any():
        score.errors.append(end_point_error(flow, now.forward, fired))
        score.zero.append(end_point_error(none, now.forward, fired))


def _variances(windows: Sequence[Span], predicted: Flow, observed: Flow | None) -> tuple[float, float, float]:
    still = np.zeros_like(predicted)
    flows = (still, predicted, still if observed is None else observed)
    plain, foreseen, seen = (float(warped_image(windows, flow).var()) for flow in flows)
    return plain, foreseen, seen


def warped_image(windows: Sequence[Span], backward: Flow) -> NDArray[np.float64]:
    """How many events, of either polarity, each pixel has once all have moved along the flow to the last moment (H, W).

    The variance of this image is large where events that one edge has made come together (Gallego et al., CVPR 2018).
    Events go to the nearest pixel: bilinear weights would blur those that move, and leave those that do not.
    windows: events, start and end, one after the other. backward: of the last one, on its grid (H, W, 2), as of
    `Prediction.flow`, in pixels a window.
    """
    height, width = backward.shape[:2]
    events = Events.join(part for part, _, _ in windows)
    _, start, end = windows[-1]
    passed = ((end - events.t) / (end - start))[:, None]
    place = np.rint(np.stack([events.x, events.y], axis=1) - passed * backward[events.y, events.x]).astype(np.int64)
    x, y = place[((place >= 0) & (place < (width, height))).all(axis=1)].T
    return np.bincount(y * width + x, minlength=height * width).reshape(height, width).astype(np.float64)
