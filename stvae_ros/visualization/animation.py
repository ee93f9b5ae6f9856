"""Writer of animated WebP files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.files import replaced

_QUALITY = 60


def write_webp(path: Path, frames: Sequence[NDArray[np.uint8]], rate: float, width: int) -> None:
    """Writes an endless animation, whole or not at all.

    Args:
        path: the .webp file to write.
        frames: (H, W, 3) uint8 BGR.
        rate: frames per second.
        width: width of the animation in pixels.

    Raises:
        ValueError: the suffix is not .webp, there are no frames, OpenCV is older than 4.11, or writing fails.
    """
    if path.suffix != ".webp":
        raise ValueError(f"{path}: an animation is a .webp file")
    if not hasattr(cv2, "imwriteanimation"):
        advice = "pip install 'opencv-python-headless>=4.11'"
        raise ValueError(f"OpenCV {cv2.__version__} writes no animations: {advice}")
    if not frames:
        raise ValueError(f"{path}: there is no frame to show")
    height = round(frames[0].shape[0] * width / frames[0].shape[1])
    animation = cv2.Animation()
    animation.frames = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    animation.durations = [round(1000 / rate)] * len(frames)
    with replaced(path) as part:
        if not cv2.imwriteanimation(str(part), animation, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY]):
            raise ValueError(f"{path}: OpenCV could not write it")
