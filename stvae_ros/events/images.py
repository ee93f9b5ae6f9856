"""Event images: the events of a time window as an 8-bit image, the input of networks that see events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from stvae_ros.events.arrays import Events

SIGNED, COUNTS = "signed", "counts"


@dataclass(frozen=True)
class EventImage:
    """How events are drawn as an image of 8 bits per channel.

    Attributes:
        representation: "signed" for one channel, see `grey_image`, or "counts" for two channels, ON and OFF, where 0 is
            no event and 255 is ``limit`` events or more.
        limit: number of events that saturates a pixel.
        window: length of the time window in milliseconds.

    Raises:
        ValueError: a value is out of range.
    """

    representation: str = SIGNED
    limit: int = 5
    window: float = 33.3

    def __post_init__(self) -> None:
        if self.representation not in (SIGNED, COUNTS):
            raise ValueError(f"unknown event image representation {self.representation!r}: use {SIGNED} or {COUNTS}")
        if self.limit < 1 or self.window <= 0:
            raise ValueError(f"event image: limit = {self.limit} and window = {self.window} must be positive")

    @property
    def channels(self) -> int:
        """Number of channels, 1 or 2."""
        return 1 if self.representation == SIGNED else 2

    def draw(self, events: Events, height: int, width: int) -> NDArray[np.uint8]:
        """Draws events.

        Args:
            events: the events of one window.
            height: height of the sensor in pixels.
            width: width of the sensor in pixels.

        Returns:
            The image, (H, W, channels) uint8.

        Raises:
            ValueError: an event is outside the image.
        """
        if self.representation == SIGNED:
            return self.of_counts(signed_counts(events, height, width))
        return self._two_channels(polarity_counts(events, height, width))

    def of_counts(self, signed: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Draws signed counts (H, W) as (H, W, channels) uint8; each pixel has events of one polarity only."""
        if self.representation == SIGNED:
            return grey_image(signed, self.limit)[..., None]
        return self._two_channels(np.stack([signed.clip(min=0), (-signed).clip(min=0)]))

    def _two_channels(self, counts: NDArray[np.integer]) -> NDArray[np.uint8]:
        grey = np.round(counts.clip(max=self.limit) * (255 / self.limit)).astype(np.uint8)
        return np.ascontiguousarray(grey.transpose(1, 2, 0))

    def metadata(self) -> dict[str, str]:
        """Entries of the checkpoint header that describe this input."""
        names = "signed counts of events" if self.representation == SIGNED else "counts of ON and OFF events"
        text = f"{names}, {self.channels} channels, range [0, 1], {self.limit} events at most, {self.window:g} ms"
        return {"input": text, "event_image": json.dumps(asdict(self), sort_keys=True)}

    @classmethod
    def of_weights(cls, metadata: Mapping[str, str]) -> EventImage | None:
        """Reads the input of a network from its checkpoint header; None if the network sees camera frames."""
        text = metadata.get("event_image")
        return None if text is None else cls(**json.loads(text))


def signed_counts(events: Events, height: int, width: int) -> NDArray[np.int32]:
    """Number of ON events minus number of OFF events per pixel, (H, W).

    Raises:
        ValueError: an event is outside the image.
    """
    return _sum(events, height, width, events.signs)


def polarity_counts(events: Events, height: int, width: int) -> NDArray[np.int32]:
    """Number of events per polarity and pixel, (2, H, W): ON, then OFF.

    Raises:
        ValueError: an event is outside the image.
    """
    return np.stack([_sum(events, height, width, events.polarity == on) for on in (True, False)])


def grey_image(counts: NDArray[np.integer], limit: int) -> NDArray[np.uint8]:
    """Draws signed counts as grey levels.

    Args:
        counts: signed counts (H, W).
        limit: number of events that saturates a pixel, at least 1.

    Returns:
        (H, W) uint8: 128 for no event, 255 for ``limit`` ON events or more, 1 for ``limit`` OFF events or more.
    """
    return np.round(128 + counts.clip(-limit, limit) * (127 / limit)).astype(np.uint8)


def _sum(events: Events, height: int, width: int, weights: NDArray[np.generic]) -> NDArray[np.int32]:
    outside = (events.x < 0) | (events.x >= width) | (events.y < 0) | (events.y >= height)
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(f"an event at column {events.x[first]}, row {events.y[first]} of an image of {width}x{height}")
    pixels = events.y.astype(np.int64) * width + events.x
    return np.bincount(pixels, weights, width * height).reshape(height, width).astype(np.int32)
