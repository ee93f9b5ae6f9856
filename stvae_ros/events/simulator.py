"""Event simulator: events from frames, by the log-intensity threshold model of an event camera, in PyTorch.

A pixel fires an ON (OFF) event when its log intensity has risen by theta_on (fallen by theta_off) since the reference
level. The pixel is then held in reset for the refractory time. The level at the end of that time is the new reference
(Lichtsteiner et al., JSSC 2008). Log intensity is interpolated linearly between frames (Rebecq et al., ESIM, CoRL
2018). Below a knee the response is linear, since the logarithm would amplify noise there (Hu et al., v2e, CVPRW 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stvae_ros.events.arrays import Events

_LEAST_THRESHOLD = 0.01
"""Lower bound of the threshold of each pixel, in log intensity."""


@dataclass(frozen=True)
class EventModel:
    """Parameters of an event camera.

    Attributes:
        theta_on: increase of the natural logarithm of intensity that makes an ON event, at least 0.01.
        theta_off: decrease of the natural logarithm of intensity that makes an OFF event, at least 0.01.
        knee: grey level in (0, 255] below which the response is linear.
        refractory: refractory time in nanoseconds.
        noise: standard deviation of the thresholds over the pixels, relative to the thresholds.

    Raises:
        ValueError: a value is out of range.
    """

    theta_on: float = 0.2
    theta_off: float = 0.2
    knee: float = 10.0
    refractory: int = 0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if min(self.theta_on, self.theta_off) < _LEAST_THRESHOLD:
            raise ValueError(
                f"theta_on = {self.theta_on} and theta_off = {self.theta_off} must be at least {_LEAST_THRESHOLD}"
            )
        if self.knee <= 0 or self.refractory < 0 or self.noise < 0:
            raise ValueError(
                f"knee = {self.knee} must be positive, "
                f"refractory = {self.refractory} and noise = {self.noise} must not be negative"
            )

    def log_intensity(self, grey: Tensor) -> Tensor:
        """Converts grey levels in [0, 255] to log intensity, float64; below the knee, the tangent at the knee."""
        grey = grey.to(torch.float64)
        return torch.where(grey < self.knee, grey / self.knee - 1 + math.log(self.knee), grey.clamp(min=1e-9).log())


@dataclass(frozen=True, eq=False)
class FrameEvents:
    """The events between two frames of one camera; in that time a pixel fires events of one polarity only.

    Attributes:
        counts: number of events per pixel, (H, W) int16, negative for OFF events.
        start: stamp of the first frame in nanoseconds.
        end: stamp of the second frame in nanoseconds.
    """

    counts: NDArray[np.int16]
    start: int
    end: int
    _pixels: Tensor
    _first: Tensor
    _spacing: Tensor

    def events(self) -> Events:
        """The single events, sorted by time, with interpolated stamps."""
        counts = torch.from_numpy(self.counts).flatten()[self._pixels]
        repeats = counts.abs().long()
        which = torch.repeat_interleave(torch.arange(len(repeats)), repeats)
        number = torch.arange(len(which)) - (repeats.cumsum(0) - repeats)[which]
        elapsed = self._first[which] + number * self._spacing[which]
        t = self.start + elapsed.round().long()
        order = torch.argsort(t, stable=True)
        pixels, width = self._pixels[which][order], self.counts.shape[1]
        return Events.of(t[order].numpy(), pixels % width, pixels // width, counts[which][order].numpy() > 0)


@dataclass
class _Pixels:
    """State of the pixels after a frame; tensors are (H, W) float64.

    Attributes:
        stamp: stamp of the frame in nanoseconds.
        level: log intensity of the frame.
        reference: log intensity from which the next change is measured.
        blind: remaining reset time after the frame in nanoseconds.
        on: thresholds of ON events.
        off: thresholds of OFF events.
    """

    stamp: int
    level: Tensor
    reference: Tensor
    blind: Tensor
    on: Tensor
    off: Tensor


class EventSimulator:
    """Simulates the events between the frames of one camera."""

    def __init__(self, model: EventModel, seed: int = 0) -> None:
        """Starts without a frame.

        Args:
            model: parameters of the event camera.
            seed: seed of the threshold noise.
        """
        self.model, self._seed = model, seed
        self._table = model.log_intensity(torch.arange(256))
        self._pixels: _Pixels | None = None

    def reset(self) -> None:
        """Clears the state; the next frame counts as the first."""
        self._pixels = None

    def step(self, image: NDArray[np.uint8] | Tensor, stamp: int) -> FrameEvents | None:
        """Adds a frame.

        Args:
            image: grey frame (H, W), uint8 or a tensor in [0, 1].
            stamp: stamp of the frame in nanoseconds.

        Returns:
            The events since the last frame; None for the first frame and for a frame of another size, which clears the
            state.

        Raises:
            ValueError: the stamp is not later than the last one.
        """
        level, pixels = self._log(image), self._pixels
        if pixels is None or level.shape != pixels.level.shape:
            self._pixels = self._start(level, stamp)
            return None
        made, which, reference, blind = self._fire(pixels, level, stamp)
        pixels.reference.view(-1)[which], pixels.blind.view(-1)[which] = reference, blind
        pixels.level, pixels.stamp = level, stamp
        return made

    def preview(self, image: NDArray[np.uint8] | Tensor, stamp: int) -> FrameEvents | None:
        """Returns what `step` would return for this frame, without changing the state."""
        level, pixels = self._log(image), self._pixels
        if pixels is None or level.shape != pixels.level.shape:
            return None
        return self._fire(pixels, level, stamp)[0]

    def _fire(self, pixels: _Pixels, level: Tensor, stamp: int) -> tuple[FrameEvents, Tensor, Tensor, Tensor]:
        """Simulates up to a frame.

        Args:
            pixels: state after the last frame.
            level: log intensity of the frame, (H, W).
            stamp: stamp of the frame in nanoseconds.

        Returns:
            The events; flat indices of the pixels whose state changes; their new reference; their new reset time.
        """
        start, duration = pixels.stamp, stamp - pixels.stamp
        if duration <= 0:
            raise ValueError(f"a frame of {stamp} ns follows a frame of {start} ns: stamps must grow")
        change = level - pixels.reference
        may_fire = (change >= pixels.on) | (change <= -pixels.off) | (pixels.blind > 0)
        which = torch.nonzero(may_fire.flatten()).flatten()
        remembered = (pixels.level, pixels.reference, pixels.blind, pixels.on, pixels.off)
        now, last, reference, blind, on, off = (values.flatten()[which] for values in (level, *remembered))
        slope = (now - last) / duration
        # Pixels in reset take a new reference when the reset ends, at the latest at the end of this frame.
        reference = torch.where(blind > 0, last + slope * blind.clamp(max=duration), reference)
        rises = slope > 0
        threshold = torch.where(rises, on, -off)
        first = torch.where(blind < duration, (reference + threshold - last) / slope, torch.inf)
        spacing = threshold / slope + self.model.refractory
        fires = (first <= duration) & (slope != 0)
        counts = torch.where(fires, torch.floor((duration - first) / spacing) + 1, 0)
        over = first + (counts - 1) * spacing + self.model.refractory
        reference = torch.where(fires, last + slope * over.clamp(max=duration), reference)
        blind = torch.where(fires, over - duration, blind - duration).clamp(min=0)

        signed = torch.zeros(level.numel(), dtype=torch.int16)
        signed[which] = torch.where(rises, counts, -counts).clamp(-32767, 32767).to(torch.int16)
        found = counts > 0
        made = FrameEvents(signed.view(level.shape).numpy(), start, stamp, which[found], first[found], spacing[found])
        return made, which, reference, blind

    def _log(self, image: NDArray[np.uint8] | Tensor) -> Tensor:
        if isinstance(image, Tensor):
            return self.model.log_intensity(image * 255)
        return self._table[torch.from_numpy(np.ascontiguousarray(image)).long()]

    def _start(self, level: Tensor, stamp: int) -> _Pixels:
        generator = torch.Generator().manual_seed(self._seed)

        def thresholds(theta: float) -> Tensor:
            noise = self.model.noise * torch.randn(level.shape, generator=generator, dtype=level.dtype)
            return (theta * (1 + noise)).clamp(min=_LEAST_THRESHOLD)

        on, off = thresholds(self.model.theta_on), thresholds(self.model.theta_off)
        return _Pixels(stamp, level, level.clone(), torch.zeros_like(level), on, off)
