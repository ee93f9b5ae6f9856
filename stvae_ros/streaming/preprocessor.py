"""Frames as a network takes them, scaled and in its channels: by OpenCV, or on the GPU where the network is there."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import torch
from torch import Tensor

from stvae_ros.streaming.flow import Image

_GREY = (3735, 19235, 9798)
"""Weights of blue, green and red in 1/32768, as OpenCV has them (Rec. 601)."""
_SIZES_KEPT = 8
"""Sizes of images for which the weights of the areas are kept."""


class Preprocessor:
    """Scales images to ``size``, (width, height), by the mean over areas, and gives them ``channels``: grey or RGB."""

    def __init__(self, size: tuple[int, int], channels: int, device: torch.device) -> None:
        self._size, self._channels, self._device = size, channels, device
        self._areas: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, images: Iterable[Image]) -> Tensor:
        """(B, h, w, channels) uint8 on the device, of images (H, W) grey or (H, W, 3) BGR of any sizes."""
        if self._device.type == "cpu":
            return torch.from_numpy(np.stack([self.on_host(image) for image in images]))
        return torch.stack([self._from_host(image) for image in images])

    def _from_host(self, image: Image) -> Tensor:
        width, height = self._size
        if image.shape[0] < height or image.shape[1] < width:  # What grows is less to upload before it does.
            return self._upload(self.on_host(image))
        return self.on_device(self._upload(image))

    def _upload(self, image: Image) -> Tensor:
        """Through pinned memory, so that the copy runs beside what the GPU does; not yet done on return."""
        pinned = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
        pinned.numpy()[...] = image
        return pinned.to(self._device, non_blocking=True)

    def on_host(self, image: Image) -> Image:
        """One image, (h, w, channels), by OpenCV."""
        # Grey first: one channel to scale instead of three.
        if self._channels == 1 and image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
        if image.shape[1::-1] != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        if self._channels == 1:
            return image[..., None]
        code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
        return cv2.cvtColor(image, code).astype(np.uint8, copy=False)

    def on_device(self, image: Tensor) -> Tensor:
        """As `on_host`, but for rounding, of an image on any device that is not smaller than ``size``."""
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
    """(wanted, length): how much of each of ``wanted`` equal parts of a line lies in each of its ``length`` pixels."""
    ends = np.linspace(0, length, wanted + 1)[:, None]
    pixels = np.arange(length)
    covered = np.minimum(pixels + 1, ends[1:]) - np.maximum(pixels, ends[:-1])
    return torch.tensor(np.clip(covered, 0, None) * wanted / length, dtype=torch.float32, device=device)
