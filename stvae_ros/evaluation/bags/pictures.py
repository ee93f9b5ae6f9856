"""Pictures of a stream: the moments that were predicted worst, and a video of its beginning."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.evaluation.bags.methods import Forecast
from stvae_ros.streaming import StepResult
from stvae_ros.streaming.flow import Image
from stvae_ros.visualization.flow_color import flow_to_color
from stvae_ros.visualization.panels import as_bgr, grid

_STRIPS = 6
_APART = 1.0
"""Seconds between two moments at least."""
_STRIP_WIDTH, _PANEL_WIDTH = 240, 320
_BRIGHTER = 4
_FPS = (5.0, 60.0)


class _Worst(NamedTuple):
    psnr: float
    seconds: float
    picture: NDArray[np.uint8]


class WorstMoments:
    """Keeps picture strips of the frames with the lowest PSNR, at least a second apart. name: of the method."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._kept: list[_Worst] = []

    def offer(self, psnr: float, seconds: float, last: Image, image: Image, forecast: Forecast) -> None:
        """A frame, the one before, and what was said after that one."""
        near = [kept for kept in self._kept if abs(kept.seconds - seconds) < _APART]
        if near:
            if psnr >= min(kept.psnr for kept in near):
                return
        elif len(self._kept) == _STRIPS and psnr >= self._kept[-1].psnr:
            return
        predicted = forecast.images.get(1)
        if predicted is None or forecast.flow is None:
            return
        error = cv2.absdiff(image, predicted).reshape(*image.shape[:2], -1).mean(axis=2) / 255
        panels = {
            "last frame": last,
            "predicted": predicted,
            "frame": image,
            f"error x{_BRIGHTER}": error * _BRIGHTER,
            "predicted flow": flow_to_color(forecast.flow, image.shape[1] / 40),
        }
        strip = grid(panels, len(panels), _STRIP_WIDTH)
        jpeg = np.asarray(cv2.imencode(".jpg", strip, (cv2.IMWRITE_JPEG_QUALITY, 85))[1], np.uint8)
        kept = [other for other in self._kept if other not in near]
        self._kept = sorted([*kept, _Worst(psnr, seconds, jpeg)], key=lambda other: other[:2])[:_STRIPS]

    def close(self) -> list[dict[str, Any]]:
        """Write the pictures; their names, with seconds of the bag and PSNR, the worst first."""
        found = []
        for number, kept in enumerate(self._kept):
            name = f"worst_{number}.jpg"
            (self.folder / name).write_bytes(kept.picture.tobytes())
            found.append({"picture": name, "seconds": kept.seconds, "psnr": kept.psnr})
        return found


@contextmanager
def _without_stderr() -> Iterator[None]:
    """FFmpeg says there, of every file, that the tag which OpenCV asks for is not in WebM's table."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Clip:
    """A video of the first ``seconds`` of a stream: frame, what was predicted for it, flow, surprise."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self.frames = 0
        self._first: float | None = None
        self._writer: cv2.VideoWriter | None = None
        self._size: tuple[int, int] | None = None

    def add(self, motion: StepResult, now: float) -> None:
        """A frame and what came of it. now: in seconds."""
        if self._first is None:
            self._first = now
        if now - self._first >= self.seconds or motion.surprise is None or motion.previous is None:
            return
        image = motion.image
        panels: dict[str, NDArray[np.generic]] = {
            "frame": image,
            "predicted for it": motion.previous.next_image,
            "flow": flow_to_color(motion.small_flow, image.shape[1] / 40),
            f"surprise x{_BRIGHTER}": motion.surprise * _BRIGHTER,
        }
        height = round(_PANEL_WIDTH * image.shape[0] / image.shape[1] / 2) * 2
        scaled = {name: cv2.resize(as_bgr(panel), (_PANEL_WIDTH, height)) for name, panel in panels.items()}
        picture = grid(scaled, 2, _PANEL_WIDTH)
        size = (picture.shape[1], picture.shape[0])
        if self._writer is None:
            # VP8: OpenCV writes it without further libraries, and every browser plays it.
            rate = min(max(1e9 / motion.period, _FPS[0]), _FPS[1])
            with _without_stderr():
                self._writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter_fourcc(*"VP80"), rate, size)  # type: ignore[attr-defined]
            self._size = size
        if size == self._size and self._writer.isOpened():
            self._writer.write(picture)
            self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
