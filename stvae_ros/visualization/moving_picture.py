"""Moving pictures that a web page shows by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_QUALITY = 60


def write_webp(path: Path, frames: Sequence[NDArray[np.uint8]], rate: float, width: int) -> None:
    """Write BGR frames (H, W, 3) as an endless animated WebP, ``width`` pixels wide, at ``rate`` frames a second.

    The file is written whole or not at all. Raises ValueError for another ending, without frames, and where OpenCV is
    older than 4.11.
    """
    if path.suffix != ".webp":
        raise ValueError(f"{path}: a moving picture is a .webp file")
    if not hasattr(cv2, "imwriteanimation"):
        advice = "pip install 'opencv-python-headless>=4.11'"
        raise ValueError(f"OpenCV {cv2.__version__} writes no moving pictures: {advice}")
    if not frames:
        raise ValueError(f"{path}: there is no frame to show")
    size = (width, round(frames[0].shape[0] * width / frames[0].shape[1]))
    animation = cv2.Animation()
    animation.frames = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
    animation.durations = [round(1000 / rate)] * len(frames)
    part = path.with_name(f".{path.name}.part.webp")
    if not cv2.imwriteanimation(str(part), animation, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY]):
        raise ValueError(f"{path}: OpenCV could not write it")
    part.rename(path)
