"""Masks of what moves by itself, against the truth, beside what OpenCV offers for cameras that stand still."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.evaluation.baselines import grey
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.flow import Image
from stvae_ros.streaming.motion_mask import MotionMask

WARM_UP = 3
"""Frames whose masks do not count: MOG2 and a network's memory have yet to fill."""
_DIFFERENCE = 25
"""Grey levels by which frame differencing takes a pixel to move, a usual choice."""
_PERIOD = 33_333_333

Mask = NDArray[np.bool_]
FindMoving = Callable[[Image], Mask]
"""Takes the frames of a stream one by one, BGR; (H, W), True where something moves."""


class Masked(NamedTuple):
    """A frame, (H, W, 3) BGR, and where something moves by itself, (H, W)."""

    image: Image
    truth: Mask


@dataclass
class MaskScore:
    """A value a frame: intersection over union, in [0, 1], of frames where something moves, and milliseconds."""

    ious: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)


def ours(predictor: StreamingPredictor) -> FindMoving:
    """A network and `MotionMask`, on one camera."""
    mask, count = MotionMask(), 0

    def find(image: Image) -> Mask:
        nonlocal count
        motion = predictor.step({"camera": Frame(image, count * _PERIOD)})["camera"]
        assert motion is not None
        count += 1
        found = mask.advance(motion)
        return np.zeros(image.shape[:2], np.bool_) if found is None else found > 0

    return find


def frame_difference() -> FindMoving:
    """Pixels that changed since the last frame."""
    last: Image | None = None

    def find(image: Image) -> Mask:
        nonlocal last
        now = grey(image)
        changed = np.zeros(now.shape, np.bool_) if last is None else cv2.absdiff(now, last) > _DIFFERENCE
        last = now
        return changed

    return find


def background_mixture() -> FindMoving:
    """OpenCV's MOG2 (Zivkovic, ICPR 2004) with its defaults, without shadows."""
    subtractor = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
    return lambda image: subtractor.apply(image) > 0


def evaluate_masks(frames: Iterable[Masked], finders: dict[str, FindMoving]) -> dict[str, MaskScore]:
    """Show every frame to every finder; the first `WARM_UP` do not count."""
    scores = {name: MaskScore() for name in finders}
    for index, shown in enumerate(frames):
        for name, find in finders.items():
            start = time.perf_counter()
            found = find(shown.image)
            elapsed = time.perf_counter() - start
            if index >= WARM_UP:
                scores[name].milliseconds.append(elapsed * 1e3)
                if shown.truth.any():
                    scores[name].ious.append(float((found & shown.truth).sum() / (found | shown.truth).sum()))
    return scores
