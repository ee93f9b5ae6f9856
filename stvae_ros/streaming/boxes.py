"""Boxes of a detector are carried along the flow inside them, from the frame that they describe to the present frame.

Each step from frame to frame fits a shift and a zoom to the flow of the pixels in the box. Pixels that move like the
surroundings of the box count little. The less the pixels agree, the less the box moves. Flow that explains the images
worse than no motion is not believed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.streaming.carrying import Carrier, CarryError, SeenFrame
from stvae_ros.streaming.flow import Flow, move

Boxes = NDArray[np.float64]
"""(N, 4): left, top, right and bottom edge in pixels of the image. The image is [0, width] x [0, height]."""
_Floats = NDArray[np.float64]


class BoxSet(NamedTuple):
    """The boxes of a frame, and anything that belongs to them, such as the message of the detector."""

    boxes: Boxes
    attached: Any = None


LEFT, INVALID = "left the image", "not a box"
"""Reasons to drop a box."""
_MOST = 1000
"""Largest number of boxes of a frame. The time of a step is proportional to it."""
_GRID = np.stack(np.meshgrid(*[np.linspace(-1, 1, 16)] * 2), axis=-1).reshape(-1, 2)
"""Places in and around a box, (M, 2), whose flow is used. The box with its surroundings is [-1, 1] x [-1, 1]."""
_MARGIN = (0.3, 8.0)
"""Width of the surroundings on each side: this part of the box, plus pixels of the image."""
_CENTRE = 0.5
"""Distance from the centre, in sizes of the box, at which the weight of a pixel has fallen to 0.61."""
_TOLERANCE = 0.3
"""Scale of the residuals of a box's flow, in pixels at processing size."""
_BACKGROUND = 0.6
"""Scale of the residuals of the surroundings' flow, in pixels at processing size."""
_LEAST_WEIGHT = 0.05
"""Weight of a pixel that moves exactly like the surroundings; 1 is that of a pixel that moves otherwise."""
_COARSE = (4.0, 2.0, 1.0, 1.0)
"""Factors of the tolerance in the rounds of the fit."""
_INDEPENDENT = 50.0
"""The mean of a box's flow has this many times less variance than the flow of one pixel."""
_SHIFT, _ZOOM = 0.03, 0.02
"""Standard deviation of what boxes do from frame to frame: shift in sizes of the box, and change of the size."""
_DOUBT = 1 / 255
"""Difference of grey values in [0, 1] by which no motion must explain the images better than the flow."""
_CUT = 2.0
"""A box that ends within so many pixels of the image's border is cut off there."""
_VISIBLE = 0.1
"""Least share of a box that is in the image."""


@dataclass(eq=False)
class _Carried:
    """Boxes, carried to the present frame.

    Attributes:
        source: the frame that they describe.
        now: the present frame.
        given: the boxes in that frame.
        cut: the edges at which the image cuts the boxes off, (N, 4).
        boxes: in the present frame, not clipped to the image; NaN where the box is dropped.
        dropped: reasons for dropped boxes, by number of the box.
    """

    source: SeenFrame
    now: SeenFrame
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
        return cls(source, source, given, cut, _without(boxes, dropped), dropped)

    def on(self, flow: Flow, frame: SeenFrame | None = None) -> _Carried:
        """Go on by one frame.

        Args:
            flow: its backward flow, (h, w, 2) at processing size.
            frame: None for a predicted frame, whose flow is believed.
        """
        if frame is not None:
            flow = believed(flow, frame.grey, self.now.grey)
        height, width = self.source.size
        dropped = dict(self.dropped)
        kept = [number for number in range(len(self.boxes)) if number not in dropped]
        moved = move_boxes(self.boxes[kept], flow, width, height)
        # The object goes on beyond an edge that is cut off, so that the box reaches the border or lies beyond it.
        outer = np.array([0, 0, width, height])
        low, high = np.minimum(moved, outer), np.maximum(moved, outer)
        boxes = self.boxes.copy()
        boxes[kept] = np.where(self.cut[kept], np.concatenate([low[:, :2], high[:, 2:]], axis=1), moved)
        dropped |= {number: LEFT for number in kept if _visible(boxes[number], width, height) < _VISIBLE}
        return _Carried(self.source, frame or self.now, self.given, self.cut, _without(boxes, dropped), dropped)


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
        return carried.on(flow, frame)

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


def believed(flow: Flow, now: NDArray[np.float32], last: NDArray[np.float32]) -> Flow:
    """Backward flow (h, w, 2) of this frame, and 0 where it explains this frame worse than no motion does.

    Args:
        flow: from this frame to the last one.
        now, last: the frames, grey, (h, w) in [0, 1].
    """
    with_flow, without = (cv2.blur(cv2.absdiff(now, each), (7, 7)) for each in (move(last, flow), last))
    return np.where((with_flow > without + _DOUBT)[..., None], np.float32(0), flow)


def move_boxes(boxes: Boxes, flow: Flow, width: int, height: int) -> Boxes:
    """Move boxes from the last frame to this one.

    Args:
        boxes: in the last frame, (N, 4).
        flow: backward flow of this frame, (h, w, 2) at processing size.
        width, height: of the image.

    Returns:
        The boxes in this frame, (N, 4).
    """
    h, w = flow.shape[:2]
    scale = np.array([width / w, height / h])
    size, centre = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
    part, pixels = _MARGIN
    # Positions from the centre of the box, in pixels of the image, (N, M, 2): in this frame and in the last one.
    now = (size * (0.5 + part) + pixels)[:, None] * _GRID
    place = np.floor((now + centre[:, None]) / scale).astype(int)
    seen = ((place >= 0) & (place < (w, h))).all(axis=2)
    x, y = np.moveaxis(np.clip(place, 0, (w - 1, h - 1)), -1, 0)
    motion = -flow[y, x] * scale
    last = now - motion
    relative = last / size[:, None]
    inside = (np.abs(relative) <= 0.5).all(axis=2)
    weights = seen * inside * np.exp(-np.square(relative / _CENTRE).sum(axis=2) / 2) + 1e-12
    weights *= _contrast(relative, motion, seen & ~inside, _BACKGROUND * scale.mean())
    shift, zoom = _fit(last, motion, weights, _TOLERANCE * scale.mean(), np.sqrt(size.prod(axis=1)))
    centre, half = centre + shift, size / 2 * (1 + zoom[:, None])
    return np.concatenate([centre - half, centre + half], axis=1)


def _contrast(position: _Floats, motion: _Floats, outside: NDArray[np.bool_], tolerance: float) -> _Floats:
    """Weights of pixels, (N, M): small for those that move like the pixels outside, by an affine transform.

    Args:
        position, motion: of the pixels, (N, M, 2).
        outside: pixels of the surroundings, (N, M).
        tolerance: least scale of the residuals. It grows with those of the surroundings.
    """
    columns = np.concatenate([position, np.ones_like(position[..., :1])], axis=2)
    squared, part = np.full(outside.shape, tolerance**2), outside.astype(np.float64)
    for _ in range(4):  # Least squares, weighted by the residuals of the round before.
        equations = (columns * part[..., None]).transpose(0, 2, 1)
        transform = np.linalg.solve(equations @ columns + 1e-3 * np.eye(3), equations @ motion)
        errors = np.square(motion - columns @ transform).sum(axis=2)
        usual = outside / (1 + errors / (3 * tolerance) ** 2) ** 2
        usual = (usual * errors).sum(axis=1) / (usual.sum(axis=1) + 1e-9)
        squared = errors / np.maximum(tolerance**2, usual)[:, None]
        part = outside / (1 + squared) ** 2
    weights: _Floats = _LEAST_WEIGHT + squared / (1 + squared)
    return np.where(outside.sum(axis=1)[:, None] < 12, 1.0, weights)


def _fit(
    last: _Floats, motion: _Floats, weights: _Floats, tolerance: float, extent: _Floats
) -> tuple[_Floats, _Floats]:
    """Fit ``motion = shift + zoom * last``, robustly against other motions, and shrink it by its variance.

    Args:
        last: positions in the last frame, (N, M, 2).
        motion: from there, (N, M, 2).
        weights: (N, M).
        tolerance: scale of the residuals.
        extent: geometric mean of width and height of each box, (N,).

    Returns:
        Shift (N, 2) and zoom (N,). Both are 0 for a box that stays.
    """
    shift, zoom = _median(motion, weights), np.zeros(len(last))
    for factor in _COARSE:
        errors = np.square(motion - shift[:, None] - zoom[:, None, None] * last).sum(axis=2)
        part = weights / (1 + errors / (factor * tolerance) ** 2) ** 2
        part = (part / part.sum(axis=1, keepdims=True))[..., None]
        mean, middle = (part * motion).sum(axis=1), (part * last).sum(axis=1)
        arms = last - middle[:, None]
        spread = (part * arms * arms).sum(axis=(1, 2)) + 1e-9
        zoom = (part * arms * motion).sum(axis=(1, 2)) / spread
        shift = mean - zoom[:, None] * middle
    errors = np.square(motion - shift[:, None] - zoom[:, None, None] * last).sum(axis=2)
    # All pixels count here, those that do not agree, too.
    variance = (weights * errors).sum(axis=1) / weights.sum(axis=1) / _INDEPENDENT
    still = 1 / (1 + variance / (_SHIFT * extent) ** 2)
    zoom = zoom / (1 + variance / spread / _ZOOM**2)
    return still[:, None] * (mean - zoom[:, None] * middle), still * zoom


def _median(values: _Floats, weights: _Floats) -> _Floats:
    """Weighted median of (N, M, 2) over M."""
    order = np.argsort(values, axis=1)
    total = np.cumsum(np.take_along_axis(weights[..., None], order, axis=1), axis=1)
    middle = (total < total[:, -1:] / 2).sum(axis=1, keepdims=True)
    return np.take_along_axis(np.take_along_axis(values, order, axis=1), middle, axis=1)[:, 0]
