"""Figures of predictions and of learnt filters (Figure 5 of the paper), with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stvae_ros.files import replaced
from stvae_ros.visualization.flow_color import flow_to_color

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """One sequence. Images are (H, W) in [0, 1]; motion is (H, W, 2) in pixels on the grid of the next frame.

    Attributes:
        name: of the sequence.
        seen: the last frames seen.
        truth: the next frame.
        true_motion: of the next frame, or None.
        predictions: frame and motion, or None, by the name of the system.
    """

    name: str
    seen: Sequence[Array]
    truth: Array
    true_motion: Array | None
    predictions: Mapping[str, tuple[Array, Array | None]]


def draw_predictions(examples: Sequence[Example], path: Path, max_magnitude: float = 5.0) -> None:
    """Draw two rows for each example: the frames and predictions, and below the true and predicted motion in colour."""
    columns = len(examples[0].seen) + 1 + len(examples[0].predictions)
    figure = Figure(figsize=(1.5 * columns, 3.1 * len(examples)), layout="constrained")
    axes = figure.subplots(2 * len(examples), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for example, above, below in zip(examples, axes[::2], axes[1::2], strict=True):
        count = len(example.seen)
        for index, image in enumerate(example.seen):
            _image(above[index], image, f"t - {count - 1 - index}" if index < count - 1 else "t")
        below[0].text(0, 0.5, example.name, va="center")
        shown = {"truth, t + 1": (example.truth, example.true_motion), **example.predictions}
        for column, (title, (image, motion)) in enumerate(shown.items(), start=count):
            _image(above[column], image, title)
            if motion is not None:
                below[column].imshow(flow_to_color(motion, max_magnitude)[..., ::-1])
    _save(figure, path)


def draw_filters(filters: Mapping[str, Array], path: Path) -> None:
    """Draw a row of filters (N, h, w) for each name, each filter in its own range of greys, with zero in the middle."""
    columns = max(len(bank) for bank in filters.values())
    figure = Figure(figsize=(0.55 * columns, 0.8 * len(filters)))
    axes = figure.subplots(len(filters), columns, squeeze=False, gridspec_kw={"hspace": 0.6})
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.3 / len(filters))
    for axis in axes.flat:
        axis.axis("off")
    for row, (name, bank) in zip(axes, filters.items(), strict=True):
        row[0].set_title(name, fontsize=8, loc="left")
        for axis, image in zip(row, bank, strict=False):
            reach = float(np.abs(image).max()) or 1.0
            axis.imshow(image, cmap="gray", vmin=-reach, vmax=reach)
    _save(figure, path)


def _image(axis: Axes, image: Array, title: str) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
    axis.set_title(title, fontsize=7)


def _save(figure: Figure, path: Path) -> None:
    with replaced(path) as file:
        figure.savefig(file, dpi=110)
