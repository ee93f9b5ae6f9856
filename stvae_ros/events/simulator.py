"""Events from frames: the log-intensity threshold model of an event camera, in PyTorch.

A pixel fires ON (OFF) when its log intensity has risen by theta_on (fallen by theta_off) since its last event, and is
then held in reset for the refractory time: it measures change from what it sees when that is over (Lichtsteiner et al.,
JSSC 2008). Between frames log intensity is taken to go in a straight line (Rebecq et al., ESIM, CoRL 2018). Below a
knee, where a logarithm would be all noise, the answer is linear (Hu et al., v2e, CVPRW 2021).
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
"""Of log intensity, whatever the noise says."""


@dataclass(frozen=True)
class EventModel:
    """What one kind of event camera does; see the module.

    theta_on, theta_off: change of the natural logarithm of intensity that makes an event. knee: grey level of 255 below
    which the answer is linear. refractory: nanoseconds. noise: standard deviation of the thresholds from pixel to
    pixel, relative to them. Raises ValueError for values out of range.
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
                f"knee = {self.knee} must be above 0, refractory = {self.refractory} and noise = {self.noise} not below"
            )

    def log_intensity(self, grey: Tensor) -> Tensor:
        """Natural logarithm of grey levels, 0 to 255, float64; below the knee its tangent there."""
        grey = grey.to(torch.float64)
        return torch.where(grey < self.knee, grey / self.knee - 1 + math.log(self.knee), grey.clamp(min=1e-9).log())


@dataclass(frozen=True, eq=False)
class FrameEvents:
    """The events between two frames of one camera.

    counts: (H, W) int16, how many at each pixel, negative where they are OFF: between two frames a pixel fires one way.
    start, end: stamps of the frames in nanoseconds.
    """

    counts: NDArray[np.int16]
    start: int
    end: int
    _pixels: Tensor
    _first: Tensor
    _spacing: Tensor

    def events(self) -> Events:
        """Every single event, its stamp interpolated between those of the frames, in order of time."""
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
    """What each pixel (H, W) remembers, float64.

    stamp: of the last frame. level: its log intensity. reference: what change is measured from. blind: nanoseconds
    after the last frame for which the pixel is still held in reset. on, off: its thresholds.
    """

    stamp: int
    level: Tensor
    reference: Tensor
    blind: Tensor
    on: Tensor
    off: Tensor


class EventSimulator:
    """Turns the frames of one camera into events. It holds, for each pixel, what the next event is measured from."""

    def __init__(self, model: EventModel, seed: int = 0) -> None:
        """seed: of the thresholds' noise from pixel to pixel."""
        self.model, self._seed = model, seed
        self._table = model.log_intensity(torch.arange(256))
        self._pixels: _Pixels | None = None

    def reset(self) -> None:
        """Forget all frames."""
        self._pixels = None

    def step(self, image: NDArray[np.uint8] | Tensor, stamp: int) -> FrameEvents | None:
        """The events since the last frame; None for the first, and for one of another size, which starts anew.

        image: (H, W) grey, uint8 or a tensor in [0, 1]. stamp: nanoseconds. Raises ValueError for a stamp that is not
        after the last one's.
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
        """What `step` would say, were this the next frame; nothing is changed. None where `step` would start anew."""
        level, pixels = self._log(image), self._pixels
        if pixels is None or level.shape != pixels.level.shape:
            return None
        return self._fire(pixels, level, stamp)[0]

    def _fire(self, pixels: _Pixels, level: Tensor, stamp: int) -> tuple[FrameEvents, Tensor, Tensor, Tensor]:
        """The events up to ``level``; the pixels that changed, flattened, with their new reference and blindness."""
        start, duration = pixels.stamp, stamp - pixels.stamp
        if duration <= 0:
            raise ValueError(f"a frame of {stamp} ns after one of {start} ns: stamps must grow")
        change = level - pixels.reference
        may_fire = (change >= pixels.on) | (change <= -pixels.off) | (pixels.blind > 0)
        which = torch.nonzero(may_fire.flatten()).flatten()
        remembered = (pixels.level, pixels.reference, pixels.blind, pixels.on, pixels.off)
        now, last, reference, blind, on, off = (values.flatten()[which] for values in (level, *remembered))
        slope = (now - last) / duration
        # What the last event left blind sees again, or stays so until after this frame.
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
