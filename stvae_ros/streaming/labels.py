"""Label propagation: labels are carried along the flow from the frame that they label to the present frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stvae_ros.nn.layers.lucas_kanade import alignment_step
from stvae_ros.streaming.carrying import Carrier, CarryError, SeenFrame
from stvae_ros.streaming.flow import Flow, look_up, move, pixel_grid

LabelMap = NDArray[np.unsignedinteger]
"""Class ids, uint8 or uint16, (H, W)."""
UNLABELLED = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""Value of a pixel without a label, by type of the map."""
_DOUBT = 24.0
"""Mean difference in grey levels, over 5x5 pixels, from which a pixel is in doubt."""
_ALIKE = 0.7
"""A neighbour gives its label if its difference is at most this part of the pixel's own difference."""
_DISTANCES = (2, 4, 7, 11)
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7))
_NEARER = 0.2
"""Cost of a neighbour for each pixel of distance, in grey levels."""
_DAMPING = 1e-3
"""Damping of the alignment with the labelled frame, see `alignment_step`."""
_REACH = 4
"""Distance in pixels of the neighbours whose shift a pixel may take over."""
_PREFERENCE = 0.004
"""Difference of grey values in [0, 1] by which a neighbour's shift must fit better than the pixel's own."""


@dataclass(eq=False)
class _Carried:
    """A labelled frame, and the position in it of each pixel of the present frame; at processing size, (h, w).

    Positions are carried from frame to frame, and labels are looked up once, at the end. At each frame the positions
    are aligned with the labelled frame itself, so that errors of the flow do not add up.

    Attributes:
        source: the frame that was labelled.
        labels: of that frame, at any resolution.
        now: the present frame.
        positions: in ``source``, (h, w, 2), x first.
        outside: 1 where the pixel was outside of the labelled frame, (h, w).
    """

    source: SeenFrame
    labels: LabelMap
    now: SeenFrame
    positions: Flow
    outside: NDArray[np.uint8]

    @classmethod
    def start(cls, source: SeenFrame, labels: LabelMap) -> _Carried:
        """Start at the labelled frame itself."""
        height, width = source.image.shape[:2]
        nowhere = np.zeros((height, width), np.uint8)
        return cls(source, labels, source, pixel_grid(height, width), nowhere)

    def on(self, frame: SeenFrame, flow: Flow) -> _Carried:
        """Go on by one frame."""
        outside = look_up(self.outside, pixel_grid(*flow.shape[:2]) + flow, outside=1).astype(np.uint8, copy=False)
        positions = _aligned(move(self.positions, flow), frame.grey, self.source.grey)
        return _Carried(self.source, self.labels, frame, positions, outside)

    @cached_property
    def difference(self) -> NDArray[np.float32]:
        """Difference between each pixel and its position in the labelled frame, in grey levels, (h, w)."""
        before = cv2.remap(self.source.image, self.positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return _mean(cv2.absdiff(self.now.image, before.reshape(self.now.image.shape)), 5)

    @cached_property
    def doubt(self) -> NDArray[np.bool_]:
        """Pixels that entered the image, were disoccluded, or do not look like the labelled ones, (h, w)."""
        doubt: NDArray[np.bool_] = (self.difference > _DOUBT) | (self.outside > 0)
        return doubt

    @cached_property
    def settled(self) -> Flow:
        """`positions`, where pixels in doubt take the position of a similar neighbour that is not in doubt."""
        rows, columns = np.nonzero(self.doubt)
        height, width = self.doubt.shape
        blurred = cv2.blur(self.now.image, (3, 3)).reshape(height * width, -1)
        planes = [plane.astype(np.float32) for plane in blurred.T]
        source = rows * width + columns
        own = [plane[source] for plane in planes]
        least = np.where(self.outside[rows, columns] > 0, np.inf, _ALIKE * self.difference[rows, columns])
        trusted = ~self.doubt.ravel()
        for distance in _DISTANCES:
            for x, y in _DIRECTIONS:
                row = np.clip(rows + round(y * distance), 0, height - 1)
                other = row * width + np.clip(columns + round(x * distance), 0, width - 1)
                cost = sum(np.abs(plane[other] - mine) for plane, mine in zip(planes, own, strict=True)) / len(planes)
                cost = cost + _NEARER * distance
                better = (cost < least) & trusted[other]
                least[better], source[better] = cost[better], other[better]
        positions = self.positions.copy()
        positions[rows, columns] = self.positions.reshape(-1, 2)[source]
        return positions


class LabelPropagator(Carrier[LabelMap, _Carried]):
    """The labels of one camera: call `advance` for every frame, `add` for labels when they come, and read `labels`.

    Args:
        history: largest delay of labels, in seconds.
        fill: whether a pixel in doubt takes the label of a similar neighbour; otherwise it is unlabelled.

    Raises:
        ValueError: the history is not positive.
    """

    what = "labels"

    def __init__(self, history: float = 2.0, fill: bool = True) -> None:
        super().__init__(history)
        self.fill = fill

    def add(self, given: LabelMap, stamp: int) -> None:
        """Take labels, see `Carrier.add`.

        Args:
            given: (H, W) uint8 or uint16, of any resolution.
            stamp: of the frame that they label, in nanoseconds.

        Raises:
            CarryError: the type or shape is wrong, or as in `Carrier.add`. Nothing is changed then.
        """
        if given.ndim != 2 or given.dtype not in UNLABELLED or 0 in given.shape:
            raise CarryError("wrong type", f"labels of {given.dtype} {given.shape}; expected uint8 or uint16, (H, W)")
        super().add(given, stamp)

    def _start(self, source: SeenFrame, given: LabelMap) -> _Carried:
        return _Carried.start(source, given)

    def _on(self, carried: _Carried, frame: SeenFrame, flow: Flow) -> _Carried:
        return carried.on(frame, flow)

    @property
    def trusted(self) -> float:
        """Share of the pixels that are not in doubt; 0 without labels."""
        return 0.0 if self._carried is None else 1 - float(self._carried.doubt.mean())

    def labels(self, ahead: bool = False) -> LabelMap | None:
        """Labels (H, W) of the last frame, or of the predicted frame if ``ahead``; None without labels."""
        if self._carried is None or self._motion is None:
            return None
        carried = self._carried
        positions, doubt = carried.settled if self.fill else carried.positions, carried.doubt.view(np.uint8)
        if ahead:
            flow = self._motion.views[-1].small_backward
            positions, doubt = move(positions, flow), look_up(doubt, pixel_grid(*flow.shape[:2]) + flow, outside=1)
        height, width = self._motion.image.shape[:2]
        unlabelled = UNLABELLED[carried.labels.dtype]
        places = _places(carried.labels, positions, width, height)
        if self.fill:
            np.clip(places, 0, np.array(carried.labels.shape[::-1], np.float32) - 1, out=places)
        found = look_up(carried.labels, places, unlabelled)
        if not self.fill:
            found[cv2.resize(doubt, (width, height), interpolation=cv2.INTER_NEAREST) > 0] = unlabelled
        return found


def _aligned(positions: Flow, now: NDArray[np.float32], labelled: NDArray[np.float32]) -> Flow:
    """Refine positions so that the labelled image fits the present one better; both are grey images, (h, w).

    One alignment step refines to a fraction of a pixel. Then each pixel tries the shifts of its neighbours, because the
    flow is smooth and outlines are not.
    """
    height, width = now.shape
    grid = pixel_grid(height, width)

    def error(places: Flow) -> NDArray[np.float32]:
        moved = cv2.remap(labelled, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return cv2.blur(cv2.absdiff(now, moved), (5, 5)).astype(np.float32, copy=False)

    def take_over(others: Flow, allowed: NDArray[np.bool_] | bool, preference: float) -> None:
        found = error(others) + preference
        better = (found < least) & allowed
        cv2.copyTo(others, better.view(np.uint8), positions)
        np.copyto(least, found, where=better)

    least = error(positions)
    half = cv2.resize(positions - grid, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    current, last = (torch.from_numpy(image)[None, None] for image in (now, labelled))
    flow = torch.from_numpy(half).permute(2, 0, 1)[None]
    with torch.inference_mode():
        step = alignment_step(current, last, flow, 3, torch.tensor(_DAMPING))
    changed = positions + cv2.resize(step[0].permute(1, 2, 0).numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
    inside = cv2.inRange(changed, (0, 0), (width - 1, height - 1)) > 0
    take_over(changed, inside, 0)
    shift = cv2.copyMakeBorder(positions - grid, *(_REACH,) * 4, cv2.BORDER_REPLICATE)
    for y, x in ((0, _REACH), (2 * _REACH, _REACH), (_REACH, 0), (_REACH, 2 * _REACH)):
        take_over(grid + shift[y : y + height, x : x + width], True, _PREFERENCE)
    return positions


def _mean(difference: NDArray[np.generic], window: int) -> NDArray[np.float32]:
    """Mean over channels and ``window`` x ``window`` pixels, (h, w)."""
    flat = difference.reshape(*difference.shape[:2], -1)
    weights = np.full((1, flat.shape[2]), 1 / flat.shape[2], np.float32)
    return cv2.blur(cv2.transform(flat.astype(np.float32), weights), (window, window)).astype(np.float32, copy=False)


def _places(labels: LabelMap, positions: Flow, width: int, height: int) -> Flow:
    """The place in the label map of each pixel of an image, (height, width, 2), x first."""
    h, w = positions.shape[:2]
    scale = np.array([width / w, height / h], np.float32)
    shift = cv2.resize((positions - pixel_grid(h, w)) * scale, (width, height), interpolation=cv2.INTER_LINEAR)
    places = pixel_grid(height, width) + shift
    if labels.shape == (height, width):
        return places
    ratio = np.array([labels.shape[1] / width, labels.shape[0] / height], np.float32)
    return ((places + 0.5) * ratio - 0.5).astype(np.float32, copy=False)
