"""Boxes of a detector are carried along the flow inside them, from the frame that they describe to the present frame.

Each step from frame to frame fits a shift and a scale to the flow of the pixels in the box. The pixels of the
background count little: they are those that move like the surroundings of the box.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stvae_ros.streaming.carrying import Carrier, CarryError, SeenFrame
from stvae_ros.streaming.flow import Flow

Boxes = NDArray[np.float64]
"""(N, 4): left, top, right and bottom edge in pixels of the image. The image is [0, width] x [0, height]."""
_Floats = NDArray[np.float64]


class BoxSet(NamedTuple):
    """The boxes of a frame, and anything that belongs to them, such as the message of the detector."""

    boxes: Boxes
    attached: Any = None


LEFT, LOST, INVALID = "left the image", "lost support", "not a box"
"""Reasons to drop a box."""
_MOST = 1000
"""Largest number of boxes of a frame. The time of a step is proportional to it."""
_SAMPLES = 600
"""Largest number of pixels that the motion of a box is fitted to, its surroundings included."""
_MARGIN = (0.3, 8.0)
"""Width of the surroundings on each side: this part of the box, plus pixels of the image."""
_TOLERANCE = 0.3
"""Scale of the residuals of a box's flow, in pixels at processing size."""
_BACKGROUND = 0.6
"""Scale of the residuals of the surroundings' flow, in pixels at processing size."""
_LEAST_WEIGHT = 0.05
"""Weight of a pixel that moves exactly like the surroundings; 1 is that of a pixel that moves otherwise."""
_COARSE = (4.0, 2.4, 1.44, 1.0, 1.0, 1.0)
"""Factors of the tolerance in the rounds of the fit."""
_CUT = 2.0
"""A box that ends within so many pixels of the image's border is cut off there."""
_AGREES = 4.0
"""Factor of the tolerance within which a pixel moves with its box."""
_SUPPORT = 0.1
"""Least share of the box's visible pixels that move with it."""
_VISIBLE = 0.1
"""Least share of a box that is in the image."""


@dataclass(eq=False)
class _Carried:
    """Boxes, carried to the present frame.

    Attributes:
        source: the frame that they describe.
        given: the boxes in that frame.
        cut: the edges at which the image cuts the boxes off, (N, 4).
        boxes: in the present frame, not clipped to the image; NaN where the box is dropped.
        dropped: reasons for dropped boxes, by number of the box.
    """

    source: SeenFrame
    given: BoxSet
    cut: NDArray[np.bool_]
    boxes: Boxes
    dropped: dict[int, str]

    @classmethod
    def start(cls, source: SeenFrame, given: BoxSet) -> _Carried:
        """Start at the described frame itself."""
        boxes = given.boxes
        height, width = source.size
        inner = np.array([_CUT, _CUT, _CUT - width, _CUT - height])
        cut = boxes * (1, 1, -1, -1) <= inner
        dropped = {}
        for number, box in enumerate(boxes):
            if not (np.isfinite(box).all() and (box[2:] > box[:2]).all()):
                dropped[number] = INVALID
            elif _visible(box, width, height) < _VISIBLE:
                dropped[number] = LEFT
        return cls(source, given, cut, _without(boxes, dropped), dropped)

    def on(self, flow: Flow) -> _Carried:
        """Go on by one frame; ``flow`` is its backward flow, (h, w, 2) at processing size."""
        height, width = self.source.size
        boxes, dropped = self.boxes.copy(), dict(self.dropped)
        for number in range(len(boxes)):
            if number in dropped:
                continue
            box, support = move_box(boxes[number], flow, width, height)
            # The object goes on beyond an edge that is cut off, so that the box reaches the border or lies beyond it.
            outer = np.array([0, 0, width, height])
            low, high = np.minimum(box, outer), np.maximum(box, outer)
            box = np.where(self.cut[number], np.concatenate([low[:2], high[2:]]), box)
            if _visible(box, width, height) < _VISIBLE:
                dropped[number] = LEFT
            elif support < _SUPPORT:
                dropped[number] = LOST
            boxes[number] = box
        return _Carried(self.source, self.given, self.cut, _without(boxes, dropped), dropped)


class BoxPropagator(Carrier[BoxSet, _Carried]):
    """The boxes of one camera: call `advance` for every frame, `add` for boxes when they come, and read `boxes`."""

    what = "detections"

    def __init__(self, history: float = 2.0) -> None:
        super().__init__(history)
        self._dropped: Counter[str] = Counter()

    @property
    def dropped(self) -> Counter[str]:
        """Number of boxes dropped so far, by reason. Each given box counts once."""
        return self._dropped + self._dropped_now()

    def add(self, given: BoxSet, stamp: int) -> None:
        """Take boxes, see `Carrier.add`. A box that is not finite or has no area is dropped.

        Args:
            given: all boxes of a frame; there may be none.
            stamp: of the frame that they describe, in nanoseconds.

        Raises:
            CarryError: there are more than a thousand, or as in `Carrier.add`. Nothing is changed then.
        """
        if len(given.boxes) > _MOST:
            raise CarryError("too many", f"{len(given.boxes)} detections for one frame; at most {_MOST} are carried")
        super().add(given, stamp)

    def clear(self) -> None:
        """Forget boxes and frames. The counts stay."""
        self._dropped += self._dropped_now()
        super().clear()

    def boxes(self, ahead: bool = False) -> BoxSet | None:
        """Boxes in the last frame, or in the predicted frame if ``ahead``.

        Returns:
            As many as were given, in their order, with what was attached to them. They may extend beyond the image. A
            dropped box is NaN. None before the first boxes.
        """
        if self._carried is None or self._motion is None:
            return None
        carried = self._carried.on(self._motion.views[-1].small_backward) if ahead else self._carried
        return BoxSet(carried.boxes, carried.given.attached)

    def _dropped_now(self) -> Counter[str]:
        return Counter() if self._carried is None else Counter(self._carried.dropped.values())

    def _start(self, source: SeenFrame, given: BoxSet) -> _Carried:
        return _Carried.start(source, given)

    def _on(self, carried: _Carried, frame: SeenFrame, flow: Flow) -> _Carried:
        return carried.on(flow)

    def _begin(self, given: BoxSet, stamp: int) -> None:
        before = self._dropped_now()
        super()._begin(given, stamp)
        self._dropped += before


def _without(boxes: Boxes, dropped: dict[int, str]) -> Boxes:
    boxes = boxes.astype(np.float64)
    boxes[list(dropped)] = np.nan
    return boxes


def _visible(box: _Floats, width: int, height: int) -> float:
    """Share of a box (4,) that is in the image."""
    inside = np.clip(box, 0, (width, height, width, height))
    return float(np.prod(inside[2:] - inside[:2]) / np.prod(box[2:] - box[:2]))


def move_box(box: _Floats, flow: Flow, width: int, height: int) -> tuple[_Floats, float]:
    """Move a box from the last frame to this one.

    Args:
        box: in the last frame, (4,).
        flow: backward flow of this frame, (h, w, 2) at processing size.
        width, height: of the image.

    Returns:
        The box in this frame, and the share of its visible pixels that move with it.
    """
    h, w = flow.shape[:2]
    scale = np.array([width / w, height / h])
    size, centre = box[2:] - box[:2], (box[:2] + box[2:]) / 2
    part, pixels = _MARGIN
    margin = part * size + pixels
    left, top = np.maximum((box[:2] - margin) / scale, 0).astype(int)
    right, bottom = np.ceil(np.minimum((box[2:] + margin) / scale, (w, h))).astype(int)
    step = max(1, int(np.ceil(np.sqrt(max((right - left) * (bottom - top), 0) / _SAMPLES))))
    x, y = np.arange(left, right, step), np.arange(top, bottom, step)
    # Positions from the centre of the box, in pixels of the image: of the pixels in this frame and in the last one.
    now = (np.stack(np.meshgrid(x, y), axis=-1) + 0.5) * scale - centre
    last = now + flow[top:bottom:step, left:right:step] * scale
    now, last = now.reshape(-1, 2), last.reshape(-1, 2)
    inside = (np.abs(last) <= size / 2).all(axis=1)
    if inside.sum() < 4:
        return box, 0.0
    weights = _contrast(now, last, inside, _BACKGROUND * scale.mean())
    shift, zoom, agreement = _fit(now[inside], last[inside], weights[inside], _TOLERANCE * scale.mean())
    return np.concatenate([centre + shift - zoom * size / 2, centre + shift + zoom * size / 2]), agreement


def _contrast(now: _Floats, last: _Floats, inside: NDArray[np.bool_], tolerance: float) -> _Floats:
    """Weights of pixels, (N,): small for those that move like the pixels outside, by an affine transform.

    Args:
        now, last: positions in this and in the last frame, (N, 2).
        inside: pixels of the box, (N,).
        tolerance: scale of the residuals.
    """
    outside = ~inside
    if outside.sum() < 12:
        return np.ones(len(now))
    positions = np.concatenate([last / np.abs(last).max(), np.ones((len(last), 1))], axis=1)
    part = outside.astype(np.float64)
    for _ in range(4):  # Least squares, weighted by the residuals of the round before.
        equations = (positions * part[:, None]).T
        transform = np.linalg.solve(equations @ positions + 1e-9 * np.eye(3), equations @ now)
        residuals = np.square(now - positions @ transform).sum(axis=1) / tolerance**2
        part = outside / (1 + residuals) ** 2
    weights: _Floats = _LEAST_WEIGHT + residuals / (1 + residuals)
    return weights


def _fit(now: _Floats, last: _Floats, weights: _Floats, tolerance: float) -> tuple[_Floats, float, float]:
    """Fit ``now = shift + zoom * last``, robustly against other motions.

    Args:
        now, last: positions in this and in the last frame, (N, 2).
        weights: (N,).
        tolerance: scale of the residuals.

    Returns:
        Shift (2,), zoom, and the share of the pixels that agree.
    """
    shift = np.array([_median(values, weights) for values in (now - last).T])
    zoom = 1.0
    agreement = np.ones(len(now))
    for factor in _COARSE:
        residuals = ((now - shift - zoom * last) ** 2).sum(axis=1)
        agreement = 1 / (1 + residuals / (factor * tolerance) ** 2) ** 2
        part = weights * agreement
        part /= part.sum()
        now_mean, last_mean = part @ now, part @ last
        spread = part @ ((last - last_mean) ** 2).sum(axis=1)
        if spread > 0:
            zoom = float(part @ ((last - last_mean) * (now - now_mean)).sum(axis=1) / spread)
        shift = now_mean - zoom * last_mean
    return shift, zoom, float((residuals < (_AGREES * tolerance) ** 2).mean())


def _median(values: _Floats, weights: _Floats) -> float:
    """Weighted median of (N,)."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
