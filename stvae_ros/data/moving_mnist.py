"""Moving MNIST with exact flow: digits that move and bounce in a square, made on the fly.

An item says which digits move where; `render` turns a batch of items into frames, flow and masks, on any
device, so that training on a GPU is not kept waiting for pictures. Item `index` is a pure function of
(seed, index).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from stvae_ros.data.mnist import DIGIT_SIZE, DigitsError
from stvae_ros.data.sequences import Item

BINARY_THRESHOLD = 128
"""Pixels of a digit from this brightness on are white in binary frames."""


class MovingMnist(Dataset[Item]):
    """Descriptions of sequences, for `render`.

    digits: (N, 28, 28) uint8. count: sequences. length: predicted frames T, of T + 1. size: S, side of the frame in
    pixels. per_frame: 1 to 4 digits. Each starts anywhere, in any direction, at min_speed to max_speed pixels per
    frame, bounces off the walls, and is drawn at whole pixels. lines: add one vertical and one horizontal fixed line.

    Items: sprites (K, 28, 28) uint8; positions (T + 1, K, 2) int64, x and y of the upper left corner; lines (2,) int64,
    x of the vertical and y of the horizontal one, -1 for none. Raises DigitsError for values out of range.
    """

    def __init__(
        self,
        digits: NDArray[np.uint8],
        count: int,
        length: int = 10,
        size: int = 64,
        per_frame: int = 2,
        min_speed: float = 2.0,
        max_speed: float = 5.0,
        lines: bool = False,
        seed: int = 0,
    ) -> None:
        if not 1 <= per_frame <= 4:
            raise DigitsError(f"{per_frame} digits in a frame: 1 to 4 are possible")
        if size < DIGIT_SIZE:
            raise DigitsError(f"frames of {size}x{size} are too small for digits of {DIGIT_SIZE}x{DIGIT_SIZE}")
        if not 0 <= min_speed <= max_speed:
            raise DigitsError(f"speeds from {min_speed} to {max_speed}: give 0 <= min_speed <= max_speed")
        self.digits, self.count, self.length, self.size = digits, count, length, size
        self.per_frame, self.min_speed, self.max_speed = per_frame, min_speed, max_speed
        self.lines, self.seed = lines, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng((self.seed, index))
        room = self.size - DIGIT_SIZE
        chosen = rng.integers(len(self.digits), size=self.per_frame)
        start = rng.uniform(0, room, (self.per_frame, 2))
        angle = rng.uniform(0, 2 * np.pi, self.per_frame)
        speed = rng.uniform(self.min_speed, self.max_speed, self.per_frame)
        velocity = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        straight = start + np.arange(self.length + 1)[:, None, None] * velocity
        lines = rng.integers(self.size, size=2) if self.lines else np.full(2, -1)
        return {
            "sprites": torch.from_numpy(self.digits[chosen]),
            "positions": torch.from_numpy(np.rint(_bounce(straight, room)).astype(np.int64)),
            "lines": torch.from_numpy(lines.astype(np.int64)),
        }


def _bounce(position: NDArray[np.float64], room: int) -> NDArray[np.float64]:
    """Fold a straight path into [0, room], as walls do."""
    if room == 0:
        return np.zeros_like(position)
    folded: NDArray[np.float64] = room - np.abs(position % (2 * room) - room)
    return folded


def render(batch: Item, size: int, binary: bool = True) -> Item:
    """Draw a batch of `MovingMnist` items: (B, ...) tensors on any device -> tensors on that device.

    frames (B, T + 1, 1, S, S) float32 in [0, 1], exactly 0 or 1 if ``binary``; where digits overlap, the brighter
    pixel shows, of equal ones that of the later digit; lines lie on top.
    flow (B, T, 2, S, S) float32: backward flow of what shows in frame t + 1; 0 on background and lines.
    flow_known (B, T, S, S) bool: True where what shows in frame t + 1 showed in frame t as well.
    masks (B, T + 1, K, S, S) bool: where each digit shows.
    """
    sprites, positions, lines = batch["sprites"].flatten(2), batch["positions"], batch["lines"]
    count, moments, digits, _ = positions.shape
    if binary:
        sprites = (sprites >= BINARY_THRESHOLD).to(torch.uint8) * 255
    # Work goes over the pixels of the digits where it can: they are a fifth of the frame.
    axis = torch.arange(DIGIT_SIZE, device=sprites.device)
    cells = (positions[..., 1, None] * size + positions[..., 0, None]) + (axis[:, None] * size + axis).flatten()
    layers = torch.zeros(count, moments, digits, size * size, dtype=torch.uint8, device=sprites.device)
    layers.scatter_(3, cells, sprites[:, None].expand(-1, moments, -1, -1))

    grid = torch.arange(size, device=sprites.device)
    on_line = ((grid == lines[:, 0, None])[:, None, :] | (grid == lines[:, 1, None])[:, :, None]).flatten(1)[:, None]
    top = layers[:, :, 0]
    owner = torch.where(top > 0, 0, -1).to(torch.int8)  # -1 background, 0 to K - 1, K a line
    for digit in range(1, digits):
        layer = layers[:, :, digit]
        owner = torch.where((layer > 0) & (layer >= top), digit, owner)
        top = torch.maximum(top, layer)
    owner = torch.where(on_line, digits, owner)
    shows = [owner == digit for digit in range(digits)]

    steps = (positions[:, :-1] - positions[:, 1:]).float()  # (B, T, K, 2)
    flow = torch.zeros(count, moments - 1, 2, size * size, device=sprites.device)
    for digit in range(digits):
        flow += shows[digit][:, 1:, None] * steps[:, :, digit, :, None]
    seen = torch.gather(owner[:, :, None].expand(-1, -1, digits, -1), 3, cells) == torch.arange(
        digits, device=sprites.device
    ).view(-1, 1)  # (B, T + 1, K, 784): where each pixel of a digit shows
    seen_twice = (seen[:, :-1] & seen[:, 1:]).to(torch.uint8)
    known = torch.zeros(count, moments - 1, size * size, dtype=torch.uint8, device=sprites.device)
    known.scatter_reduce_(2, cells[:, 1:].flatten(2), seen_twice.flatten(2), "amax")
    unmoved = ((owner[:, 1:] < 0) | (owner[:, 1:] == digits)) & (owner[:, 1:] == owner[:, :-1])
    square = (size, size)
    return {
        "frames": (torch.where(on_line, 255, top).float() / 255).unflatten(2, (1, *square)),
        "flow": flow.unflatten(3, square),
        "flow_known": (known.bool() | unmoved).unflatten(2, square),
        "masks": torch.stack(shows, dim=2).unflatten(3, square),
    }


class MovingMnistFile(Dataset[Item]):
    """The public test set, mnist_test_seq.npy: (20, N, 64, 64) uint8; the first ``length`` + 1 frames of each.

    Items are frames, flow and flow_known as in `data.sequences`; the file has no flow. Raises DigitsError.
    """

    def __init__(self, path: str | Path, length: int = 10, binary: bool = True) -> None:
        try:
            self.sequences = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise DigitsError(f"{path}: not a readable NumPy file ({error}); fetch mnist_test_seq.npy again") from error
        shape = self.sequences.shape
        if len(shape) != 4 or shape[0] <= length or self.sequences.dtype != np.uint8:
            raise DigitsError(
                f"{path}: an array of {self.sequences.dtype} {shape}, not uint8 (frames, sequences, height, width) "
                f"with more than {length} frames"
            )
        self.length, self.binary = length, binary

    def __len__(self) -> int:
        return int(self.sequences.shape[1])

    def __getitem__(self, index: int) -> Item:
        pictures = np.array(self.sequences[: self.length + 1, index, None])
        if self.binary:
            pictures = (pictures >= BINARY_THRESHOLD).astype(np.uint8) * 255
        _, _, height, width = pictures.shape
        return {
            "frames": torch.from_numpy(pictures).float() / 255,
            "flow": torch.zeros(self.length, 2, height, width),
            "flow_known": torch.zeros(self.length, height, width, dtype=torch.bool),
        }
