"""Videos that browsers play, and the film of the demo."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.files import replaced
from stvae_ros.visualization.flow_color import draw_wheel, flow_to_color
from stvae_ros.visualization.panels import Image, as_bgr, grid

_JPEG_QUALITY = 95
_LEAST_SPEED = 0.5
"""Least motion in pixels that gets full colour. Without it, a clip that stands still would show noise."""
_FLOW = "flow"


def open_webm(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """Open a VP8 video. OpenCV writes it without further libraries, and every browser plays it.

    Args:
        path: a .webm file.
        rate: frames per second.
        size: (width, height) in pixels.
    """
    with _without_stderr():
        return cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), rate, size)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Hide stderr: FFmpeg warns there, for every file, that WebM does not know the tag that OpenCV asks for."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Film:
    """Titled panels, frame by frame. They wait in a file, and are drawn at the end.

    Encoding a frame takes longer than the network on some machines. The colours of the flow are also known at the end
    only: full colour is the median, over the frames, of the fastest motion but for one per cent of the pixels.

    Args:
        width: of a panel in pixels.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.length = 0
        self._titles: list[list[str]] = []
        self._speeds: list[float] = []
        self._file = tempfile.TemporaryFile()  # noqa: SIM115

    def add(self, panels: Mapping[str, NDArray[np.generic]]) -> None:
        """Add a frame.

        Args:
            panels: images by title, see `as_bgr`, of one aspect ratio. "flow" is (H, W, 2) float in pixels instead.
        """
        first = next(iter(panels.values()))
        height = round(first.shape[0] * self.width / first.shape[1] / 2) * 2
        for title, panel in panels.items():
            if title == _FLOW:
                size = (self.width // 2, height // 2)
                flow = np.asarray(cv2.resize(panel.astype(np.float32), size, interpolation=cv2.INTER_AREA))
                self._speeds.append(float(np.nanpercentile(np.hypot(flow[..., 0], flow[..., 1]), 99)))
                np.save(self._file, flow.astype(np.float16))
            else:
                small = cv2.resize(as_bgr(panel), (self.width, height), interpolation=cv2.INTER_AREA)
                np.save(self._file, cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1])
        self._titles.append(list(panels))
        self.length += 1

    def frames(self) -> Iterator[dict[str, Image]]:
        """The panels of each frame by title; flow is drawn in colour, with a colour wheel."""
        full = max(_LEAST_SPEED, float(np.median(self._speeds)) if self._speeds else 0.0)
        self._file.seek(0)
        for titles in self._titles:
            panels = {}
            for title in titles:
                kept = np.load(self._file)
                if title == _FLOW:
                    panels[f"flow, full colour: {full:.1f} px"] = _draw_flow(kept.astype(np.float32), full)
                else:
                    panels[title] = np.asarray(cv2.imdecode(kept, cv2.IMREAD_COLOR), np.uint8)
            yield panels
        self._file.seek(0, os.SEEK_END)

    def write(self, path: Path, rate: float, columns: int) -> None:
        """Draw the film into a .webm file, whole or not at all.

        Args:
            path: the file.
            rate: frames per second.
            columns: number of panels in a row.
        """
        with replaced(path) as part:
            writer = None
            for panels in self.frames():
                picture = grid(panels, columns, self.width)
                if writer is None:
                    writer = open_webm(part, rate, (picture.shape[1], picture.shape[0]))
                writer.write(picture)
            if writer is not None:
                writer.release()


def _draw_flow(flow: NDArray[np.float32], full: float) -> Image:
    size = (2 * flow.shape[1], 2 * flow.shape[0])
    colors = np.asarray(cv2.resize(flow_to_color(flow, full), size), np.uint8)
    draw_wheel(colors, size[1] // 4)
    return colors
