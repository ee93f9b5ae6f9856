"""Image pairs with ground-truth flow, as Middlebury and FlyingChairs store them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.media import Image, MediaError

_MAGIC = 202021.25
_UNKNOWN = 1e9


def read_flo(path: str | Path) -> NDArray[np.float32]:
    """A Middlebury .flo file: (H, W, 2) float32 in pixels, x first, NaN where the flow is not known. Raises MediaError.

    The flow is that of the first frame's pixels: p of the first frame is at p + flow(p) in the second.
    """
    data = Path(path).read_bytes()
    if len(data) < 12 or np.frombuffer(data, "<f4", 1)[0] != _MAGIC:
        raise MediaError(f"{path}: not a .flo file of optical flow")
    width, height = np.frombuffer(data, "<i4", 2, 4).tolist()
    if len(data) != 12 + 8 * width * height:
        raise MediaError(f"{path}: {len(data)} bytes for a flow of {width}x{height}; fetch it again")
    flow = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).copy()
    flow[(np.abs(flow) > _UNKNOWN).any(axis=2)] = np.nan
    return flow


def flow_pairs(folder: str | Path) -> Iterator[tuple[str, Image, Image, NDArray[np.float32]]]:
    """Name, first frame, second frame (H, W, 3) BGR uint8 and flow of each .flo file under ``folder``, by name.

    Beside NAME-gt.flo lie NAME-img0.png and NAME-img1.png; beside flow10.flo lie frame10.png and frame11.png.
    Raises MediaError if there is none, or if a frame is missing or has another size.
    """
    paths = sorted(Path(folder).rglob("*.flo"))
    if not paths:
        raise MediaError(f"{folder}: no .flo files there; give a folder of image pairs with ground-truth flow")
    for path in paths:
        flow = read_flo(path)
        if path.name.endswith("-gt.flo"):
            stem = path.name.removesuffix("-gt.flo")
            name, first, second = stem, f"{stem}-img0.png", f"{stem}-img1.png"
        else:
            number = int("".join(c for c in path.stem if c.isdigit()) or 0)
            name, first, second = path.parent.name, f"frame{number}.png", f"frame{number + 1}.png"
        yield name, _read(path.with_name(first), flow), _read(path.with_name(second), flow), flow


def _read(path: Path, flow: NDArray[np.float32]) -> Image:
    image = cv2.imread(str(path))
    if image is None:
        raise MediaError(f"{path}: missing or not an image; it belongs to a ground-truth flow")
    if image.shape[:2] != flow.shape[:2]:
        raise MediaError(f"{path}: {image.shape[1]}x{image.shape[0]}, but its flow {flow.shape[1]}x{flow.shape[0]}")
    return image.astype(np.uint8, copy=False)
