"""Pictures of a stream: its worst predictions, and a video of its beginning."""

from __future__ import annotations

from collections.abc import Mapping
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
_PANEL_WIDTH = 320
BRIGHTER = 4
_FPS = (5.0, 60.0)


class _Worst(NamedTuple):
    psnr: float
    seconds: float
    panels: dict[str, NDArray[np.uint8]]
    """JPEG files by title."""


class WorstMoments:
    """Pictures of the frames with the lowest PSNR, at least a second apart.

    Args:
        folder: for the pictures.
        first: the method whose PSNR counts.
    """

    def __init__(self, folder: Path, first: str) -> None:
        self.folder, self.first = folder, first
        self._kept: list[_Worst] = []

    def offer(
        self,
        figures: Mapping[str, float],
        seconds: float,
        last: Image,
        image: Image,
        forecasts: Mapping[str, Forecast],
    ) -> None:
        """Take a frame, and keep its pictures if it is among the worst.

        Args:
            figures: PSNR in dB of each method's prediction.
            seconds: its time in the bag.
            last: the frame before it.
            image: the frame.
            forecasts: the forecasts that the methods made from the frame before it.
        """
        psnr, forecast = figures[self.first], forecasts[self.first]
        near = [kept for kept in self._kept if abs(kept.seconds - seconds) < _APART]
        if near:
            if psnr >= min(kept.psnr for kept in near):
                return
        elif len(self._kept) == _STRIPS and psnr >= self._kept[-1].psnr:
            return
        if 1 not in forecast.images or forecast.flow is None:
            return
        panels: dict[str, NDArray[np.generic]] = {
            "last frame": last,
            "frame": image,
            f"prediction of {self.first}": forecast.images[1],
            f"flow of {self.first}": flow_to_color(forecast.flow, full_colour(image.shape[1])),
        }
        for name, figure in figures.items():
            error = cv2.absdiff(image, forecasts[name].images[1]).reshape(*image.shape[:2], -1).mean(axis=2) / 255
            panels[f"error of {name}, {figure:.1f} dB"] = error * BRIGHTER
        kept = [other for other in self._kept if other not in near]
        made = {title: _jpeg(panel) for title, panel in panels.items()}
        self._kept = sorted([*kept, _Worst(psnr, seconds, made)], key=lambda other: other[:2])[:_STRIPS]

    def close(self) -> list[dict[str, Any]]:
        """Write the pictures.

        Returns:
            For each moment, the worst first, its time in the bag in seconds, its PSNR, and file name and title of its
            pictures.
        """
        found = []
        for number, kept in enumerate(self._kept):
            pictures = []
            for index, (title, panel) in enumerate(kept.panels.items()):
                name = f"worst_{number}_{index}.jpg"
                (self.folder / name).write_bytes(panel.tobytes())
                pictures.append({"picture": name, "title": title})
            found.append({"seconds": kept.seconds, "psnr": kept.psnr, "pictures": pictures})
        return found


def full_colour(width: int) -> float:
    """Motion in pixels that is drawn in full colour, for frames of this width."""
    return width / 40


def _jpeg(panel: NDArray[np.generic]) -> NDArray[np.uint8]:
    size = (_PANEL_WIDTH, round(_PANEL_WIDTH * panel.shape[0] / panel.shape[1]))
    interpolation = cv2.INTER_AREA if size[0] < panel.shape[1] else cv2.INTER_LINEAR
    small = cv2.resize(as_bgr(panel), size, interpolation=interpolation)
    return np.asarray(cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, 85))[1], np.uint8)


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
            "flow": flow_to_color(result.small_flow, full_colour(image.shape[1])),
            f"surprise x{BRIGHTER}": result.surprise * BRIGHTER,
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
