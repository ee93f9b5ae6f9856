"""Motion in 3-D scenes, in closed form: progress along a lane with stops and starts, sway, and paths of cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.scenes.solids import Pose, shift, turn

_RAMP = 0.15
"""Share of a drive in which the speed grows, and in which it falls."""
CAMERA_MOTIONS = ("drive", "walk", "fly", "pan", "shake", "stand")


@dataclass(frozen=True)
class Progress:
    """Distance along a path: constant speed, or drives with stops between them.

    Attributes:
        speed: metres per second while it drives.
        period: seconds from one start to the next.
        duty: share of the period in which it drives; 1 never stops.
        phase: of the first start, in periods.
    """

    speed: float
    period: float = 10.0
    duty: float = 1.0
    phase: float = 0.0

    def __call__(self, time: float) -> float:
        """Metres at a time in seconds."""
        if self.duty >= 1:
            return self.speed * time
        count, part = divmod(time / self.period + self.phase, 1.0)
        part = min(part / self.duty, 1.0)
        if part < _RAMP:
            driven = part**2 / (2 * _RAMP)
        elif part < 1 - _RAMP:
            driven = part - _RAMP / 2
        else:
            driven = 1 - _RAMP - (1 - part) ** 2 / (2 * _RAMP)
        return (count * (1 - _RAMP) + driven) * self.speed * self.duty * self.period


class Sway:
    """A sum of three sine waves for each of n values, with reversals at random times."""

    def __init__(self, rng: np.random.Generator, amplitudes: NDArray[np.float64] | list[float], hertz: float) -> None:
        """Sets up the waves.

        Args:
            rng: source of random numbers.
            amplitudes: largest amplitude of each value.
            hertz: mean frequency.
        """
        count = len(amplitudes)
        self._amplitudes = np.asarray(amplitudes)[:, None] * rng.dirichlet([1.0] * 3, count)
        self._frequencies = 2 * np.pi * hertz * rng.uniform(0.4, 1.6, (count, 3))
        self._phases = rng.uniform(0, 2 * np.pi, (count, 3))

    def __call__(self, time: float) -> NDArray[np.float64]:
        """The n values at a time in seconds."""
        return (self._amplitudes * np.sin(self._frequencies * time + self._phases)).sum(axis=1)


class CameraPath:
    """Path of a camera: world from camera, with the camera's axes x right, y down, z ahead."""

    def __init__(
        self,
        rng: np.random.Generator,
        motion: str,
        place: tuple[float, float, float],
        room: tuple[float, float, float],
        progress: Progress,
        strength: float,
    ) -> None:
        """Draws a path.

        Args:
            rng: source of random numbers.
            motion: one of `CAMERA_MOTIONS`.
            place: mean position (x, y, height) in metres.
            room: largest deviation from it in metres. Infinite along y for a path that goes on.
            progress: progress along y.
            strength: factor of all rotations and shakes.
        """
        self._place, self._room = np.array(place), np.array(room)
        self.progress = progress
        hand = {"drive": 0.003, "walk": 0.012, "fly": 0.03, "pan": 0.01, "shake": 0.06, "stand": 0.0}[motion]
        slow = {"drive": 0.06, "walk": 0.12, "fly": 0.3, "pan": 0.15, "shake": 0.1, "stand": 0.0}[motion]
        self._slow = Sway(rng, strength * slow * np.array([1.0, 0.4, 0.2]), 0.12)
        self._hand = Sway(rng, strength * hand * np.array([1.0, 1.0, 0.6]), rng.uniform(0.8, 3.0))
        drift = {"drive": 0.3, "walk": 0.3, "fly": 4.0, "pan": 0.3, "shake": 0.1, "stand": 0.0}[motion]
        self._drift = Sway(rng, drift * np.array([1.0, 1.0, 0.5]), 0.1 if motion != "shake" else 0.5)
        self._steps = 0.0 if motion != "walk" else rng.uniform(1.5, 2.1)
        self._spin = Progress(0.0)
        if motion == "pan":
            turning = strength * rng.uniform(0.2, 0.9) * rng.choice([-1, 1])
            self._spin = Progress(turning, rng.uniform(2, 6), rng.choice([0.5, 0.7, 1.0]), rng.uniform())
        self._yaw = rng.normal(0, {"drive": 0.05, "walk": 0.25, "fly": 0.4}.get(motion, 0.6))
        self._pitch = rng.normal(-0.03, 0.06) - (rng.uniform(0.1, 0.7) if motion == "fly" else 0.0)

    def __call__(self, time: float) -> Pose:
        """Pose at a time in seconds."""
        step = 2 * np.pi * self._steps * time
        bob = 0.03 * bool(self._steps) * np.array([np.sin(step / 2), 0.0, np.cos(step)])
        position = self._place + np.clip(self._drift(time), -self._room, self._room) + bob
        position[1] += self.progress(time)
        yaw, pitch, roll = self._slow(time) + self._hand(time)
        yaw += self._yaw + self._spin(time)
        pitch += self._pitch + bob[2] / 4
        return shift(*position) @ turn(2, yaw) @ turn(0, pitch - np.pi / 2) @ turn(2, roll + bob[0] / 2)
