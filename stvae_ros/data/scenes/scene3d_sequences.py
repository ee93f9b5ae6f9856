"""Training sequences of 3-D scenes with exact flow; the items are those of `stvae_ros.data.sequences`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from stvae_ros.data.media import Image
from stvae_ros.data.scenes.scene3d import Scene3D
from stvae_ros.data.scenes.sensor import random_sensor
from stvae_ros.data.scenes.textures import Textures, installed_photographs
from stvae_ros.data.scenes.things import catalog
from stvae_ros.data.sequences import Item, Size, in_channels, to_frames

_PHOTOS = 32
"""Largest number of photographs in the textures."""
_MEAN_MOTION = 0.3, 15.0
"""Range of the mean motion of a sequence, in pixels of a picture 320 pixels wide."""
_LARGE_MOTION = 60.0
"""Motion that at most 1 % of the pixels exceed, likewise."""
_RATES = 3.0, 240.0
"""Range of frames per second of a scene's time."""


class Scene3DSequences(Dataset[Item]):
    """Sequences of a camera that moves through 3-D scenes."""

    def __init__(
        self, photographs: Sequence[Image], count: int, length: int, size: Size, channels: int, seed: int
    ) -> None:
        """Sets up the data set.

        Args:
            photographs: (H, W, 3) uint8 BGR, for textures, beside those of installed packages.
            count: number of items.
            length: number of predicted frames T.
            size: height and width of the frames in pixels.
            channels: 1 for grey, 3 for RGB.
            seed: seed of the scenes.
        """
        photos = installed_photographs() + list(photographs[:: max(-(-len(photographs) // _PHOTOS), 1)])
        self.textures = Textures(photos)
        catalog(self.textures)  # Made before the workers start, which share it.
        self.count, self.length, self.size = count, length, size
        self.channels, self.seed = channels, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng((self.seed, index))
        scene = Scene3D(
            int(rng.integers(2**31)),
            self.size[1],
            self.size[0],
            strength=float(rng.uniform(0.3, 2.0)),
            textures=self.textures,
        )
        scene.rate = _rate(scene, rng)
        sensor = random_sensor(rng)
        images, flows, known = [], [], []
        for t in range(self.length + 1):
            image = scene.frame(t)
            flow, visible = scene.flow(t, t - 1)
            images.append(in_channels(sensor(image, t, flow), self.channels))
            flows.append(flow)
            known.append(visible)
        return {
            "frames": to_frames(images),
            "flow": torch.from_numpy(np.stack(flows[1:])).permute(0, 3, 1, 2).contiguous(),
            "flow_known": torch.from_numpy(np.stack(known[1:])),
        }


def _rate(scene: Scene3D, rng: np.random.Generator) -> float:
    """Frame rate at which the mean motion is one that is drawn, all scales alike; a still camera keeps any rate."""
    rate = float(np.exp(rng.uniform(np.log(8), np.log(60))))
    wanted = np.exp(rng.uniform(*np.log(_MEAN_MOTION)))
    if scene.motion == "stand":
        return rate
    small = scene.resized(40, 30)
    motions = np.linalg.norm(small.flow(0, 1)[0], axis=2) * 8
    wanted_factor = wanted / max(motions.mean(), 1e-3)
    largest_factor = _LARGE_MOTION / max(np.percentile(motions, 99), 1e-3)
    return float(np.clip(scene.rate / min(wanted_factor, largest_factor), *_RATES))
