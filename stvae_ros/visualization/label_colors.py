"""Names and colours of classes, from a YAML table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

_GOLDEN = 0.618034
"""Steps of this part of the circle of hues never come back to where they have been."""


@dataclass(frozen=True)
class ClassTable:
    """Names by class id, and colours, RGB; a class that the table does not name has a fixed colour of its own."""

    names: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> ClassTable:
        """Read ``classes: [{id: 0, name: sky, color: [128, 128, 128]}, ...]``; colors may be left out.

        Raises ValueError for a file that is missing or says something else.
        """
        try:
            classes = yaml.safe_load(Path(path).read_text())["classes"]
            names = {int(entry["id"]): str(entry["name"]) for entry in classes}
            colors = {int(entry["id"]): tuple(map(int, entry["color"])) for entry in classes if "color" in entry}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"class table {path} cannot be read: {error}") from error
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(
                f"class table {path} must say `classes: [{{id: 0, name: sky, color: [r, g, b]}}, ...]`"
            ) from error
        if len(names) != len(classes):
            raise ValueError(f"class table {path} has an id twice")
        bad = [number for number, color in colors.items() if len(color) != 3 or not all(0 <= c <= 255 for c in color)]
        if bad:
            raise ValueError(f"class table {path}: the color of class {bad[0]} must be [r, g, b], each 0 to 255")
        return cls(names, colors)  # type: ignore[arg-type]

    def draw(self, labels: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
        """Labels (H, W), uint8 or uint16, in colour, (H, W, 3) uint8 BGR; the highest value, unlabelled, is black."""
        return np.take(self._palettes[labels.dtype.itemsize], labels, axis=0)

    @cached_property
    def _palettes(self) -> dict[int, NDArray[np.uint8]]:
        """BGR colours by id, by the bytes of a label."""
        return {size: self._palette(256**size - 1) for size in (1, 2)}

    def _palette(self, unlabelled: int) -> NDArray[np.uint8]:
        ids = np.arange(unlabelled + 1)
        hsv = np.empty((1, len(ids), 3), np.uint8)
        hsv[..., 0] = np.floor(180 * (ids * _GOLDEN % 1))
        hsv[..., 1:] = 200, 230
        palette = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0], np.uint8)
        for number, color in self.colors.items():
            if number < unlabelled:
                palette[number] = color[::-1]
        palette[unlabelled] = 0
        return palette
