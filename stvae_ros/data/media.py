"""Reading video files, folders of images and webcams with OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

Image = NDArray[np.uint8]


class MediaError(ValueError):
    """A video, image or camera that cannot be read; the message names it and says what to do."""


def read_frames(source: str | Path) -> Iterator[Image]:
    """Yield the frames of a video file, of a folder of images (sorted by name) or of ``webcam:N``.

    Each frame is (H, W, 3) uint8, BGR; grey images come as (H, W) uint8. Frames are taken in the order in
    which they are stored, whatever time stamps the container carries. Raises MediaError.
    """
    text = str(source)
    if text.startswith("webcam:"):
        number = text.removeprefix("webcam:")
        if not number.isdecimal():
            raise MediaError(f"{text!r} names no camera: write webcam:0 for the first one")
        yield from _capture(cv2.VideoCapture(int(number)), text)
    elif Path(text).is_dir():
        yield from _read_folder(Path(text))
    elif Path(text).is_file():
        yield from _capture(cv2.VideoCapture(text), text)
    else:
        raise MediaError(f"{text}: no such video file or folder of images")


def frame_rate(source: str | Path, default: float = 30.0) -> float:
    """Frames per second that a video file declares; ``default`` for anything that declares none."""
    if not Path(source).is_file():
        return default
    capture = cv2.VideoCapture(str(source))
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return rate if 0.1 <= rate <= 1000.0 else default


def _capture(capture: cv2.VideoCapture, name: str) -> Iterator[Image]:
    try:
        count = 0
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            count += 1
            yield frame.astype(np.uint8, copy=False)
        if count == 0:
            raise MediaError(f"{name}: no frame can be read; give a video that OpenCV decodes (try ffprobe on it)")
    finally:
        capture.release()


def _read_folder(folder: Path) -> Iterator[Image]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise MediaError(f"{folder}: no images in this folder; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_ANYCOLOR)
        if image is None:
            raise MediaError(f"{path}: not an image that OpenCV can read; remove or convert it")
        yield image.astype(np.uint8, copy=False)
