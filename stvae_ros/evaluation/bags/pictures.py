"""Pictures of a stream: its worst predictions, and a video of its beginning."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.evaluation.core.methods import Forecast
from stvae_ros.streaming import StepResult
from stvae_ros.streaming.flow import Image
from stvae_ros.visualization.film import open_webm
from stvae_ros.visualization.flow_color import flow_to_color
from stvae_ros.visualization.panels import as_bgr, grid

_STRIPS = 6
_APART = 1.0
"""Least time in seconds between two moments."""
_STRIP_WIDTH, _PANEL_WIDTH = 240, 320
_BRIGHTER = 4
_FPS = (5.0, 60.0)


class _Worst(NamedTuple):
    psnr: float
    seconds: float
    picture: NDArray[np.uint8]


class WorstMoments:
    """Picture strips of the frames with the lowest PSNR, at least a second apart.

    Args:
        folder: for the pictures.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept: list[_Worst] = []

    def offer(self, psnr: float, seconds: float, last: Image, image: Image, forecast: Forecast) -> None:
        """Take a frame, and keep its picture strip if it is among the worst.

        Args:
            psnr: of its prediction, in dB.
            seconds: its time in the bag.
            last: the frame before it.
            image: the frame.
            forecast: the forecast made from the frame before it.
        """
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
        """Write the pictures.

        Returns:
            For each picture, the worst first, its file name, its time in the bag in seconds, and its PSNR.
        """
        found = []
        for number, kept in enumerate(self._kept):
            name = f"worst_{number}.jpg"
            (self.folder / name).write_bytes(kept.picture.tobytes())
            found.append({"picture": name, "seconds": kept.seconds, "psnr": kept.psnr})
        return found


class Clip:
    """A video of the beginning of a stream: frame, its prediction, flow, surprise.

    Args:
        path: of the video, WebM.
        seconds: its length.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self.frames = 0
        self._first: float | None = None
        self._writer: cv2.VideoWriter | None = None
        self._size: tuple[int, int] | None = None

    def add(self, result: StepResult, now: float) -> None:
        """Add a frame.

        Args:
            result: the network's result for it.
            now: its time in the bag in seconds.
        """
        if self._first is None:
            self._first = now
        if now - self._first >= self.seconds or result.surprise is None or result.previous is None:
            return
        image = result.image
        panels: dict[str, NDArray[np.generic]] = {
            "frame": image,
            "predicted for it": result.previous.next_image,
            "flow": flow_to_color(result.small_flow, image.shape[1] / 40),
            f"surprise x{_BRIGHTER}": result.surprise * _BRIGHTER,
        }
        height = round(_PANEL_WIDTH * image.shape[0] / image.shape[1] / 2) * 2
        scaled = {name: cv2.resize(as_bgr(panel), (_PANEL_WIDTH, height)) for name, panel in panels.items()}
        picture = grid(scaled, 2, _PANEL_WIDTH)
        size = (picture.shape[1], picture.shape[0])
        if self._writer is None:
            rate = min(max(1e9 / result.period, _FPS[0]), _FPS[1])
            self._writer = open_webm(self.path, rate, size)
            self._size = size
        if size == self._size and self._writer.isOpened():
            self._writer.write(picture)
            self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
