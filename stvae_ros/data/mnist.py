"""Handwritten digits: MNIST from its IDX files, or scikit-learn's where MNIST is not at hand."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "validation"]

DIGIT_SIZE = 28
"""Side of a digit in pixels."""

_FILES: dict[Split, str] = {"train": "train-images-idx3-ubyte", "validation": "t10k-images-idx3-ubyte"}
_UNSIGNED_BYTE = 0x08


class DigitsError(ValueError):
    """Digits or digit sequences that cannot be read; the message names the file and what to do."""


def load_digits(folder: str | Path | None, split: Split) -> NDArray[np.uint8]:
    """Digits (N, 28, 28) uint8, white on black; those of "train" and of "validation" are different ones.

    folder: with the IDX files of MNIST, gzip or not: train-images-idx3-ubyte for training and
    t10k-images-idx3-ubyte for validation. None takes the 1,797 digits that come with scikit-learn, the first four
    fifths for training, scaled up from 8x8. Raises DigitsError.
    """
    if folder is None:
        return _scikit_learn_digits(split)
    for name in (_FILES[split], f"{_FILES[split]}.gz"):
        path = Path(folder) / name
        if path.is_file():
            digits = read_idx(path)
            if digits.ndim != 3 or digits.shape[1:] != (DIGIT_SIZE, DIGIT_SIZE) or not len(digits):
                raise DigitsError(f"{path}: holds an array of shape {digits.shape}, not 28x28 digits")
            return digits
    raise DigitsError(
        f"{folder}: no MNIST there ({_FILES[split]}, with or without .gz); "
        "give the folder of its IDX files, or none at all for the digits of scikit-learn"
    )


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes, gzip or not. Raises DigitsError."""
    path = Path(path)
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise DigitsError(f"{path}: cannot be read ({error}); it may be damaged: fetch it again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UNSIGNED_BYTE:
        raise DigitsError(f"{path}: not an IDX file of unsigned bytes")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DigitsError(f"{path}: ends within its header; fetch it again")
    shape = tuple(np.frombuffer(data, ">u4", data[3], 4).tolist())
    if len(data) - start != np.prod(shape):
        raise DigitsError(f"{path}: {len(data) - start} bytes for an array of shape {shape}; fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _scikit_learn_digits(split: Split) -> NDArray[np.uint8]:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise DigitsError("digits without MNIST come with scikit-learn: pip install -e '.[train]'") from error
    images = datasets.load_digits().images
    border = len(images) * 4 // 5
    chosen = images[:border] if split == "train" else images[border:]
    # 8x8 in a frame of 28x28 with the margin of four pixels that MNIST has.
    inner = DIGIT_SIZE - 8
    digits = np.zeros((len(chosen), DIGIT_SIZE, DIGIT_SIZE), np.uint8)
    for digit, image in zip(digits, chosen, strict=True):
        large = cv2.resize(image * (255 / 16), (inner, inner), interpolation=cv2.INTER_CUBIC)
        digit[4:-4, 4:-4] = large.clip(0, 255)
    return digits
