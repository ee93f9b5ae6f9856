"""What a real camera adds to a picture: exposure that changes, motion blur, noise and JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.media import Image

_TAPS = 5
"""Positions along the path of a pixel that motion blur averages."""


@dataclass(frozen=True)
class Sensor:
    """Effects of a sensor; by default none.

    Attributes:
        seed: seed of the noise.
        gain: exposure, 1 for none.
        swing: relative amplitude of the exposure's change.
        period: period of this change in frames.
        shutter: share of a frame's time for which the shutter is open; 0 for no motion blur.
        noise: standard deviation of the noise of middle grey, in grey levels.
        quality: of JPEG, 1 to 100; 0 for no JPEG.
    """

    seed: int = 0
    gain: float = 1.0
    swing: float = 0.0
    period: float = 30.0
    shutter: float = 0.0
    noise: float = 0.0
    quality: int = 0

    def __call__(self, image: Image, t: int, flow: NDArray[np.float32] | None = None) -> Image:
        """Applies the effects.

        Args:
            image: frame t, (H, W, 3) uint8.
            t: number of the frame.
            flow: (H, W, 2) backward flow of the frame in pixels, for motion blur.
        """
        if self.shutter and flow is not None:
            image = _blurred(image, flow * np.float32(self.shutter))
        exposure = self.gain * (1 + self.swing * np.sin(2 * np.pi * t / self.period))
        if exposure != 1 or self.noise:
            light = image.astype(np.float32) * np.float32(exposure)
            if self.noise:
                rng = np.random.default_rng((self.seed, t + 2**20))
                # Photon noise grows with the root of the brightness.
                light += (
                    rng.standard_normal(image.shape, np.float32) * np.sqrt(0.3 + light / 180) * np.float32(self.noise)
                )
            image = np.clip(light + 0.5, 0, 255).astype(np.uint8)
        if self.quality:
            code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
            image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
        return image


def random_sensor(rng: np.random.Generator) -> Sensor:
    """Effects as training wants them: each of them in some of the scenes only."""
    return Sensor(
        seed=int(rng.integers(2**31)),
        gain=float(rng.uniform(0.75, 1.25)),
        swing=float(rng.choice([0.0, 0.0, 0.05, 0.15])),
        period=float(rng.uniform(8, 60)),
        shutter=float(rng.choice([0.0, 0.0, 0.0, 0.3, 0.5])),
        noise=float(rng.choice([0.0, 0.0, 1.0, 2.0, 4.0])),
        quality=int(rng.choice([0, 0, 0, 60, 80, 92])),
    )


def _blurred(image: Image, path: NDArray[np.float32]) -> Image:
    """The mean of the image along the path of each pixel, (H, W, 2) pixels."""
    height, width = image.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    total = np.zeros(image.shape, np.float32)
    for share in np.linspace(-0.5, 0.5, _TAPS, dtype=np.float32):
        total += cv2.remap(
            image, x + share * path[..., 0], y + share * path[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return (total / _TAPS + 0.5).astype(np.uint8)
