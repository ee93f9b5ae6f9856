"""Preprocessing: frames in the size and channels of the network, by OpenCV on the host or on the GPU."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import torch
from torch import Tensor

from stvae_ros.streaming.flow import Image

_GREY = (3735, 19235, 9798)
"""Weights of blue, green and red in 1/32768, those of OpenCV (Rec. 601)."""
_SIZES_KEPT = 8
"""Number of image sizes for which the area weights are kept."""


class Preprocessor:
    """Scales images by the mean over areas and converts their channels.

    Args:
        size: width and height of the result in pixels.
        channels: 1 for grey, 3 for RGB.
        device: of the result.
    """

    def __init__(self, size: tuple[int, int], channels: int, device: torch.device) -> None:
        self._size, self._channels, self._device = size, channels, device
        self._areas: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, images: Iterable[Image]) -> Tensor:
        """Preprocess images, (H, W) or (H, W, 3) BGR, of any sizes. Returns (B, h, w, channels) uint8 on the device."""
        if self._device.type == "cpu":
            return torch.from_numpy(np.stack([self.on_host(image) for image in images]))
        return torch.stack([self._from_host(image) for image in images])

    def _from_host(self, image: Image) -> Tensor:
        width, height = self._size
        if image.shape[0] < height or image.shape[1] < width:  # The small image is faster to upload.
            return self._upload(self.on_host(image))
        return self.on_device(self._upload(image))

    def _upload(self, image: Image) -> Tensor:
        """Copy to the GPU asynchronously, through pinned memory."""
        pinned = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
        pinned.numpy()[...] = image
        return pinned.to(self._device, non_blocking=True)

    def on_host(self, image: Image) -> Image:
        """Preprocess one image with OpenCV. Returns (h, w, channels)."""
        # Grey first: one channel is scaled instead of three.
        if self._channels == 1 and image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
        if image.shape[1::-1] != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        if self._channels == 1:
            return image[..., None]
        code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
        return cv2.cvtColor(image, code).astype(np.uint8, copy=False)

    def on_device(self, image: Tensor) -> Tensor:
        """Do as `on_host` does, up to rounding, for an image on any device that is not smaller than the result."""
        planes = image.float() if image.ndim == 3 else image.float()[..., None]
        if self._channels == 1 and planes.shape[2] == 3:
            weights = torch.tensor(_GREY, dtype=torch.float32, device=image.device)
            planes = ((planes * weights).sum(2, keepdim=True) / 32768 + 0.5).floor()
        width, height = self._size
        planes = planes.permute(2, 0, 1)
        if planes.shape[1:] != (height, width):
            rows, columns = self._areas_of(planes.shape[1], planes.shape[2], image.device)
            planes = (rows @ planes @ columns.T).round()
        return planes.flip(0).expand(self._channels, -1, -1).permute(1, 2, 0).byte()

    def _areas_of(self, rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if (rows, columns) not in self._areas:
            if len(self._areas) == _SIZES_KEPT:
                self._areas.clear()
            width, height = self._size
            self._areas[rows, columns] = (_areas(rows, height, device), _areas(columns, width, device))
        return self._areas[rows, columns]


def _areas(length: int, wanted: int, device: torch.device) -> Tensor:
    """Weights (wanted, length) of a line's ``length`` pixels in each of ``wanted`` equal parts of the line."""
    ends = np.linspace(0, length, wanted + 1)[:, None]
    pixels = np.arange(length)
    covered = np.minimum(pixels + 1, ends[1:]) - np.maximum(pixels, ends[:-1])
    return torch.tensor(np.clip(covered, 0, None) * wanted / length, dtype=torch.float32, device=device)
