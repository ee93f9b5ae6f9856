"""Reader of image pairs with ground-truth flow in the layouts of Middlebury and FlyingChairs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.media import Image, MediaError, read_image

_MAGIC = 202021.25
_UNKNOWN = 1e9
"""Components above this value mark unknown flow."""


def read_flo(path: str | Path) -> NDArray[np.float32]:
    """Reads a Middlebury .flo file.

    This is not ``cv2.readOpticalFlow``: that function trusts the size in the header, so a damaged file can crash it.

    Args:
        path: the .flo file.

    Returns:
        Forward flow (H, W, 2) float32 in pixels, x first, on the grid of the first frame: the pixel p of the first
        frame is at p + flow(p) in the second. Unknown flow is NaN.

    Raises:
        MediaError: the file is damaged or not a .flo file.
    """
    data = Path(path).read_bytes()
    if len(data) < 12 or np.frombuffer(data, "<f4", 1)[0] != _MAGIC:
        raise MediaError(f"{path}: not a .flo file of optical flow")
    width, height = np.frombuffer(data, "<u4", 2, 4).tolist()
    if len(data) != 12 + 8 * width * height:
        raise MediaError(f"{path}: {len(data)} bytes for a flow of {width}x{height}; fetch it again")
    flow = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).copy()
    flow[(np.abs(flow) > _UNKNOWN).any(axis=2)] = np.nan
    return flow


def flow_pairs(folder: str | Path) -> Iterator[tuple[str, Image, Image, NDArray[np.float32]]]:
    """Reads every .flo file below a folder, and its two frames.

    The frames of NAME-gt.flo are NAME-img0.png and NAME-img1.png. The frames of flow10.flo are frame10.png and
    frame11.png.

    Args:
        folder: the folder to search.

    Yields:
        Name, first frame (H, W, 3) BGR uint8, second frame and flow (H, W, 2), in the order of the paths.

    Raises:
        MediaError: there is no .flo file, or a frame is missing or has another size than the flow.
    """
    paths = sorted(Path(folder).rglob("*.flo"))
    if not paths:
        raise MediaError(f"{folder}: no .flo files there; give a folder of image pairs with ground-truth flow")
    for path in paths:
        flow = read_flo(path)
        if path.name.endswith("-gt.flo"):
            name = path.name.removesuffix("-gt.flo")
            first, second = f"{name}-img0.png", f"{name}-img1.png"
        else:
            number = int("".join(c for c in path.stem if c.isdigit()) or 0)
            name, first, second = path.parent.name, f"frame{number}.png", f"frame{number + 1}.png"
        yield name, _read_frame(path.with_name(first), flow), _read_frame(path.with_name(second), flow), flow


def _read_frame(path: Path, flow: NDArray[np.float32]) -> Image:
    if not path.is_file():
        raise MediaError(f"{path}: missing; it is a frame of a ground-truth flow")
    image = read_image(path)
    if image.shape[:2] != flow.shape[:2]:
        raise MediaError(f"{path}: {image.shape[1]}x{image.shape[0]}, but its flow {flow.shape[1]}x{flow.shape[0]}")
    return image
