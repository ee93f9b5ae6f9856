"""Small bags for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stvae_ros.data.bags.writer import BagWriter
from stvae_ros.data.scenes.shapes import SyntheticScene

MS = 1_000_000
START = 1_700_000_000 * 10**9
PERIOD = 50 * MS


def scene_images(count: int, seed: int = 4, width: int = 96, height: int = 64) -> list[np.ndarray]:
    """Frames of a synthetic scene."""
    scene = SyntheticScene(seed, width, height)
    return [scene.frame(t) for t in range(count)]


def write_bag(
    path: Path, images: list[np.ndarray], storage: str = "mcap", topic: str = "/camera/image_raw", jpeg: bool = False
) -> Path:
    """Writes a bag of one camera at 20 Hz."""
    with BagWriter(path, storage) as bag:  # type: ignore[arg-type]
        for index, image in enumerate(images):
            stamp = START + index * PERIOD
            if jpeg:
                bag.write_jpeg(f"{topic}/compressed", image, stamp, "lens")
            else:
                bag.write(topic, image, "bgr8" if image.ndim == 3 else "mono8", stamp, "lens", time=stamp + MS)
    return path
