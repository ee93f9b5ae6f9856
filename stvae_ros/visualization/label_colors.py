"""Names and colours of semantic classes."""

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
"""Step of the hue from one class id to the next, in turns; the golden ratio spreads the hues evenly."""


@dataclass(frozen=True)
class ClassTable:
    """Names and RGB colours by class id; a class without a colour gets one that depends on its id only."""

    names: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> ClassTable:
        """Reads a YAML file of the form ``classes: [{id: 0, name: sky, color: [128, 128, 128]}, ...]``.

        Args:
            path: the file. Colours are optional.

        Raises:
            ValueError: the file cannot be read or has another form.
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
        """Draws labels (H, W), uint8 or uint16, as (H, W, 3) uint8 BGR; the highest value, unlabelled, is black."""
        return np.take(self._palettes[labels.dtype.itemsize], labels, axis=0)

    @cached_property
    def _palettes(self) -> dict[int, NDArray[np.uint8]]:
        """BGR colours by id, for labels of 1 and of 2 bytes."""
        return {depth: self._palette(256**depth - 1) for depth in (1, 2)}

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
