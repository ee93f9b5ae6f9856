"""Labels carried through the flow."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stvae_ros.checkpoint import find
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.streaming import Frame, StepResult, StreamingPredictor
from stvae_ros.streaming.carrying import CarryError
from stvae_ros.streaming.host_copy import HostCopy
from stvae_ros.streaming.labels import LabelPropagator
from stvae_ros.streaming.step_result import FramePrediction

MS = 1_000_000
PERIOD = 40 * MS
WIDTH, HEIGHT = 96, 64


class Camera:
    """Frames of a texture that moves by a known flow, with the motions that a perfect network would give."""

    def __init__(self, speed: tuple[float, float] = (3.0, 0.0)) -> None:
        self.speed, self.count, self.last = speed, 0, None
        self.texture = SyntheticScene(1, 256, 192, objects=0, camera_motion=0).frame(0)

    def frame(self, reset: str | None = None, skip: int = 0) -> StepResult:
        """The next frame; what is at p now was at p - speed."""
        steps = 1 + skip
        self.count += steps
        x, y = (round(128 - self.speed[0] * self.count), round(96 - self.speed[1] * self.count))
        image = np.ascontiguousarray(self.texture[y - 32 : y + 32, x - 48 : x + 48])
        flow = np.empty((HEIGHT, WIDTH, 2), np.float32)
        flow[:] = -np.float32(self.speed) * steps
        view = FramePrediction(image, HostCopy(torch.from_numpy(image)), HostCopy(torch.zeros(3, HEIGHT, WIDTH)), flow)
        first = self.last is None
        motion = StepResult(
            stamp=self.count * PERIOD,
            period=PERIOD,
            reset="first frame" if first else reset,
            views=[view],
            previous=self.last,
            observed=HostCopy(torch.from_numpy(flow).permute(2, 0, 1)),
        )
        self.last = view
        return motion


def box(x: int, y: int = 20, dtype: type = np.uint8) -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), dtype)
    labels[y : y + 16, x : x + 16] = 7
    return labels


def run(propagator: LabelPropagator, camera: Camera, frames: int) -> StepResult:
    for _ in range(frames):
        motion = camera.frame()
        assert propagator.advance(motion) == []
    return motion


def found(propagator: LabelPropagator, ahead: bool = False) -> np.ndarray:
    labels = propagator.labels(ahead)
    assert labels is not None
    return labels


@pytest.mark.parametrize("keep", [True, False])
def test_labels_go_along_with_what_they_label(keep: bool) -> None:
    propagator, camera = LabelPropagator(fill=keep), Camera()
    first = run(propagator, camera, 1)
    assert propagator.labels() is None
    propagator.add(box(20), first.stamp)
    np.testing.assert_array_equal(found(propagator), box(20))
    run(propagator, camera, 10)
    assert propagator.age == pytest.approx(0.4)
    np.testing.assert_array_equal(found(propagator)[:, 30:], box(50)[:, 30:])
    new = found(propagator)[:, :29]
    assert (new == (0 if keep else 255)).all(), (
        "what has come into the image is labelled like what is next to it, or not"
    )
    assert propagator.trusted == pytest.approx(1 - 30 / WIDTH, abs=0.02)
    np.testing.assert_array_equal(found(propagator, ahead=True)[:, 33:], box(53)[:, 33:])


def test_late_labels_come_to_where_timely_ones_are() -> None:
    late, timely, cameras = LabelPropagator(), LabelPropagator(), (Camera(), Camera())
    stamps = [run(propagator, camera, 3).stamp for propagator, camera in zip((late, timely), cameras, strict=True)]
    timely.add(box(20), stamps[0])
    for propagator, camera in zip((late, timely), cameras, strict=True):
        run(propagator, camera, 8)
    late.add(box(20), stamps[0])
    np.testing.assert_array_equal(found(late), found(timely))
    np.testing.assert_array_equal(found(late)[:, 30:], box(44)[:, 30:])


def test_new_labels_correct_old_ones_and_old_ones_do_not_come_back() -> None:
    propagator, camera = LabelPropagator(), Camera()
    stamps = [run(propagator, camera, 1).stamp for _ in range(6)]
    propagator.add(box(10), stamps[2])
    propagator.add(box(40), stamps[4])
    np.testing.assert_array_equal(found(propagator)[:, 10:], box(43)[:, 10:])
    with pytest.raises(CarryError, match="older than those in use") as error:
        propagator.add(box(10), stamps[3])
    assert error.value.reason == "overtaken"
    np.testing.assert_array_equal(found(propagator)[:, 10:], box(43)[:, 10:])


def test_labels_may_come_before_their_frame() -> None:
    propagator, camera = LabelPropagator(), Camera()
    last = run(propagator, camera, 2)
    propagator.add(box(20), last.stamp + 2 * PERIOD)
    run(propagator, camera, 1)
    assert propagator.labels() is None, "their frame is still to come"
    run(propagator, camera, 2)
    np.testing.assert_array_equal(found(propagator)[:, 10:], box(23)[:, 10:])


def test_of_labels_that_wait_only_the_newest_are_kept() -> None:
    propagator, camera = LabelPropagator(), Camera((1.0, 0.0))
    start = run(propagator, camera, 1).stamp
    for index in range(1, 40):
        propagator.add(box(20), start + index * PERIOD)
    run(propagator, camera, 35)
    assert propagator.labels() is None
    run(propagator, camera, 1)
    assert propagator.labels() is not None


@pytest.mark.parametrize(
    ("labels", "offset", "reason"),
    [
        (lambda: box(20), -60 * PERIOD, "too late"),
        (lambda: box(20), +60 * PERIOD, "from the future"),
        (lambda: box(20).astype(np.int32), 0, "wrong type"),
        (lambda: box(20)[..., None].repeat(3, axis=2), 0, "wrong type"),
        (lambda: box(20)[:0], 0, "wrong type"),
    ],
)
def test_labels_that_cannot_be_used_change_nothing(labels: Callable[[], np.ndarray], offset: int, reason: str) -> None:
    propagator, camera = LabelPropagator(history=1.0), Camera((1.0, 0.0))
    propagator.add(box(20), run(propagator, camera, 30).stamp)
    with pytest.raises(CarryError) as error:
        propagator.add(labels(), run(propagator, camera, 1).stamp + offset)
    assert error.value.reason == reason
    np.testing.assert_array_equal(found(propagator)[:, 1:], box(21)[:, 1:])


def test_labels_of_a_frame_that_was_never_seen() -> None:
    propagator, camera = LabelPropagator(), Camera((1.0, 0.0))
    before = run(propagator, camera, 3)
    assert propagator.advance(camera.frame(skip=6)) == []
    with pytest.raises(CarryError, match="nearest frame") as error:
        propagator.add(box(20), before.stamp + 3 * PERIOD)
    assert error.value.reason == "no such frame"
    propagator.add(box(20), before.stamp + PERIOD // 2)
    np.testing.assert_array_equal(found(propagator)[:, 10:], box(27)[:, 10:]), "but the next to it will do"
    propagator.add(box(20), camera.count * PERIOD + 3 * PERIOD)
    assert [error.reason for error in propagator.advance(camera.frame(skip=6))] == ["no such frame"]


def test_a_reset_forgets_labels() -> None:
    propagator, camera = LabelPropagator(), Camera()
    before = run(propagator, camera, 5)
    propagator.add(box(20), before.stamp)
    propagator.advance(camera.frame(reset="gap"))
    assert propagator.labels() is None
    with pytest.raises(CarryError):
        propagator.add(box(20), before.stamp - PERIOD)


def test_maps_of_any_size_and_both_types() -> None:
    for dtype, unknown in ((np.uint8, 255), (np.uint16, 65535)):
        propagator, camera = LabelPropagator(fill=False), Camera()
        large = box(20, dtype=dtype).repeat(3, axis=0).repeat(3, axis=1)
        large[large == 7] = 255 if dtype == np.uint16 else 9
        propagator.add(large, run(propagator, camera, 1).stamp)
        run(propagator, camera, 4)
        labels = found(propagator)
        assert labels.dtype == dtype and labels.shape == (HEIGHT, WIDTH)
        expected = box(32, dtype=dtype)
        expected[expected == 7] = large.max()
        np.testing.assert_array_equal(labels[:, 12:], expected[:, 12:])
        assert (labels[:, :11] == unknown).all()


def test_what_does_not_look_like_before_is_in_doubt() -> None:
    for keep in (True, False):
        propagator, camera = LabelPropagator(fill=keep), Camera((0.0, 0.0))
        propagator.add(box(20), run(propagator, camera, 1).stamp)
        motion = camera.frame()
        motion.views[0].small[24:32, 24:32] = 255 - motion.views[0].small[24:32, 24:32]
        propagator.advance(motion)
        trusted = propagator.trusted
        assert 0.98 < trusted < 1
        assert (found(propagator)[26:30, 26:30] == (7 if keep else 255)).all()
        run(propagator, camera, 1)
        assert propagator.trusted == 1, "it looks like before again"


def test_memory_is_bounded_by_the_history() -> None:
    propagator, camera = LabelPropagator(history=0.5), Camera((0.0, 0.0))
    sizes = []
    for _ in range(60):
        propagator.advance(camera.frame())
        sizes.append(len(propagator._seen))
    assert max(sizes) == sizes[-1] == 13, "half a second at 25 frames a second, and the frame that began it"


@pytest.mark.parametrize("history", [0, -1.0, float("nan")])
def test_a_history_has_to_be_positive(history: float) -> None:
    with pytest.raises(ValueError, match="history"):
        LabelPropagator(history)


@pytest.mark.parametrize("model", ["stvae-rt-s", "stvae-rt-m", "ae-convlstm-flow"])
def test_labels_stay_on_moving_objects(model: str) -> None:
    scene = SyntheticScene(11, 320, 240, objects=3, max_speed=3.0)
    predictor, propagator = StreamingPredictor.from_weights(find(model)), LabelPropagator()
    for t in range(20):
        motion = predictor.step({"": Frame(scene.frame(t), t * PERIOD)})[""]
        assert motion is not None
        propagator.advance(motion)
        if t == 9:
            propagator.add(scene.truth(5).labels, 5 * PERIOD)
    truth, held = scene.truth(19).labels, scene.truth(5).labels
    ours, theirs = (
        [_overlap(labels == kind, truth == kind) for kind in range(5)] for labels in (found(propagator), held)
    )
    assert all(a > b for a, b in zip(ours, theirs, strict=True) if not np.isnan(a)), "better than labels that stay"
    assert np.nanmean(ours) > (0.8 if model.startswith("stvae-rt") else 0.5)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / union) if (union := (one | other).sum()) else float("nan")
