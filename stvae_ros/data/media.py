"""Reader of video files, folders of images and webcams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

Image = NDArray[np.uint8]
"""(H, W) grey or (H, W, 3) BGR."""


class MediaError(ValueError):
    """A video, image, camera or recording cannot be read. The message names it and says what to do."""


def read_frames(source: str | Path) -> Iterator[Image]:
    """Reads frames in the order in which they are stored; time stamps of a video are ignored.

    Args:
        source: a video file, a folder of images (read in the order of their names) or ``webcam:N``.

    Yields:
        Colour frames (H, W, 3) uint8 BGR; grey images (H, W) uint8.

    Raises:
        MediaError: the source does not exist or cannot be decoded.
    """
    name = str(source)
    if name.startswith("webcam:"):
        number = name.removeprefix("webcam:")
        if not number.isdecimal():
            raise MediaError(f"{name!r} names no camera: write webcam:0 for the first one")
        yield from _capture(cv2.VideoCapture(int(number)), name)
    elif Path(name).is_dir():
        paths = image_files(Path(name))
        if not paths:
            raise MediaError(f"{name}: no images in this folder; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
        yield from (read_image(path, cv2.IMREAD_ANYCOLOR) for path in paths)
    elif Path(name).is_file():
        yield from _capture(cv2.VideoCapture(name), name)
    else:
        raise MediaError(f"{name}: no such video file or folder of images")


def frame_rate(source: str | Path, default: float = 30.0) -> float:
    """Frame rate that a video file declares, in Hz; ``default`` if the source declares none."""
    if not Path(source).is_file():
        return default
    capture = cv2.VideoCapture(str(source))
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return rate if 0.1 <= rate <= 1000.0 else default


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def read_image(path: Path, mode: int = cv2.IMREAD_COLOR) -> Image:
    """Reads one image.

    Args:
        path: the image file.
        mode: a flag of ``cv2.imread``.

    Returns:
        (H, W) or (H, W, 3) uint8 BGR, depending on the mode.

    Raises:
        MediaError: the file is missing or is not an image.
    """
    image = cv2.imread(str(path), mode)
    if image is None:
        raise MediaError(f"{path}: not an image that OpenCV can read; remove or convert it")
    return image.astype(np.uint8, copy=False)


def _capture(capture: cv2.VideoCapture, name: str) -> Iterator[Image]:
    try:
        ok, frame = capture.read()
        if not ok:
            raise MediaError(f"{name}: no frame can be read; give a video that OpenCV decodes (try ffprobe on it)")
        while ok:
            yield frame.astype(np.uint8, copy=False)
            ok, frame = capture.read()
    finally:
        capture.release()
