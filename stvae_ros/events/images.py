"""Images made of events: what networks and people look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from stvae_ros.events.arrays import Events

Size = tuple[int, int]
"""Width and height in pixels."""
SIGNED, COUNTS = "signed", "counts"


@dataclass(frozen=True)
class EventImage:
    """What a network that sees events is shown of them, as 8 bits a channel.

    representation: "signed" is one channel, see `grey_image`; "counts" is two, ON and OFF, 0 for none and 255 for
    ``limit`` events or more. limit: events. window: time in milliseconds whose events are in one image. Raises
    ValueError for values out of range.
    """

    representation: str = SIGNED
    limit: int = 5
    window: float = 33.3

    def __post_init__(self) -> None:
        if self.representation not in (SIGNED, COUNTS):
            raise ValueError(f"no event image is called {self.representation!r}: use {SIGNED} or {COUNTS}")
        if self.limit < 1 or self.window <= 0:
            raise ValueError(f"limit = {self.limit} and window = {self.window} of an event image: give more than 0")

    @property
    def channels(self) -> int:
        """1 or 2."""
        return 1 if self.representation == SIGNED else 2

    def draw(self, events: Events, size: Size) -> NDArray[np.uint8]:
        """The image of some events, (H, W, channels). Raises ValueError for events outside of it."""
        if self.representation == SIGNED:
            return self.of_counts(signed_counts(events, size))
        return self._two(polarity_counts(events, size))

    def of_counts(self, signed: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The same from signed counts (H, W), of pixels that fire one way each."""
        if self.representation == SIGNED:
            return grey_image(signed, self.limit)[..., None]
        return self._two(np.stack([signed.clip(min=0), (-signed).clip(min=0)]))

    def _two(self, counts: NDArray[np.integer]) -> NDArray[np.uint8]:
        grey = np.round(counts.clip(max=self.limit) * (255 / self.limit)).astype(np.uint8)
        return np.ascontiguousarray(grey.transpose(1, 2, 0))

    def metadata(self) -> dict[str, str]:
        """What weights say of it, for `zoo.save`."""
        names = "signed counts of events" if self.representation == SIGNED else "counts of ON and OFF events"
        text = f"{names}, {self.channels} channels, range [0, 1], {self.limit} events at most, {self.window:g} ms"
        return {"input": text, "event_image": json.dumps(asdict(self), sort_keys=True)}

    @classmethod
    def of_weights(cls, metadata: Mapping[str, str]) -> EventImage | None:
        """What weights with this header see; None if they see the frames of a camera."""
        text = metadata.get("event_image")
        return None if text is None else cls(**json.loads(text))


def signed_counts(events: Events, size: Size) -> NDArray[np.int32]:
    """ON events less OFF events of each pixel, (H, W). Raises ValueError for events outside of the image."""
    return _sum(events, size, events.signs)


def polarity_counts(events: Events, size: Size) -> NDArray[np.int32]:
    """Events of each pixel, ON first, then OFF, (2, H, W). Raises ValueError for events outside of the image."""
    return np.stack([_sum(events, size, events.polarity == on) for on in (True, False)])


def time_surface(events: Events, size: Size, now: int, decay: float) -> NDArray[np.float32]:
    """How recent the last event of each pixel and polarity is, ON first, (2, H, W) in [0, 1]: exp(-age / decay).

    0 where there was none (Lagorce et al., HOTS, PAMI 2017). now: nanoseconds, not before the last event. decay: in
    nanoseconds. Raises ValueError for events outside of the image or after ``now``, and for a decay of 0.
    """
    if decay <= 0:
        raise ValueError(f"a time surface that decays in {decay} ns: give more than 0")
    if len(events) and events.t[-1] > now:
        raise ValueError(f"an event of {events.t[-1]} ns is after the {now} ns that the time surface is for")
    width, height = size
    surface = np.zeros((2, height, width), np.float32)
    # Of several values for one place NumPy keeps the last, which is the latest event.
    surface.reshape(-1)[_pixels(events, size) + np.where(events.polarity, 0, width * height)] = np.exp(
        (events.t - now) / decay
    )
    return surface


def voxel_grid(events: Events, size: Size, bins: int, start: int, end: int) -> NDArray[np.float32]:
    """Signed events spread over time, (bins, H, W): each adds its polarity to the two bins nearest to its stamp.

    The weights are bilinear in time and add up to 1 (Zhu et al., CVPR 2019). The first bin is at ``start``, the last at
    ``end``, in nanoseconds. Raises ValueError for events outside of the image or of that time, and for one bin.
    """
    if bins < 2 or end <= start:
        raise ValueError(f"a voxel grid of {bins} bins from {start} to {end} ns: give 2 or more, and time")
    if len(events) and not (start <= events.t[0] and events.t[-1] <= end):
        raise ValueError(f"events from {events.t[0]} to {events.t[-1]} ns in a voxel grid from {start} to {end} ns")
    width, height = size
    place = (events.t - start) * ((bins - 1) / (end - start))
    below = np.minimum(place.astype(np.int64), bins - 2)
    share = place - below
    pixels = _pixels(events, size)
    total = np.zeros(bins * height * width)
    for index, weight in ((below, 1 - share), (below + 1, share)):
        total += np.bincount(index * (width * height) + pixels, weight * events.signs, len(total))
    return total.reshape(bins, height, width).astype(np.float32)


def grey_image(counts: NDArray[np.integer], limit: int) -> NDArray[np.uint8]:
    """Signed counts (H, W) as grey levels: 128 is none, 1 and 255 are ``limit`` OFF or ON events or more."""
    if limit < 1:
        raise ValueError(f"an event image of at most {limit} events a pixel: give at least 1")
    return np.round(128 + counts.clip(-limit, limit) * (127 / limit)).astype(np.uint8)


def _sum(events: Events, size: Size, weights: NDArray[np.generic]) -> NDArray[np.int32]:
    width, height = size
    total = np.bincount(_pixels(events, size), weights, width * height)
    return total.reshape(height, width).astype(np.int32)


def _pixels(events: Events, size: Size) -> NDArray[np.int64]:
    """Index of each event's pixel in the flattened image."""
    width, height = size
    outside = (events.x < 0) | (events.x >= width) | (events.y < 0) | (events.y >= height)
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(f"an event at column {events.x[first]}, row {events.y[first]} of an image of {width}x{height}")
    return events.y.astype(np.int64) * width + events.x
