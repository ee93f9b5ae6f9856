"""Boxes carried along the flow inside them."""

import numpy as np
import pytest
import torch

from stvae_ros.streaming import StepResult
from stvae_ros.streaming.boxes import INVALID, LEFT, BoxPropagator, BoxSet, believed, move_boxes
from stvae_ros.streaming.carrying import CarryError
from stvae_ros.streaming.flow import pixel_grid
from stvae_ros.streaming.host_copy import HostCopy
from stvae_ros.streaming.step_result import FramePrediction

PERIOD = 40_000_000
WIDTH, HEIGHT = 192, 128  # of the image; the network sees half of it
BOX = (40.0, 30.0, 80.0, 60.0)


def backward(
    box: tuple[float, ...], shift: tuple[float, float], zoom: float = 1.0, camera: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Backward flow (h, w, 2) at processing size: a box of the last frame is shifted and zoomed, the rest pans."""
    now = (pixel_grid(HEIGHT // 2, WIDTH // 2) + 0.5) * 2
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    last = (now - centre - shift) / zoom + centre
    inside = ((last >= box[:2]) & (last <= box[2:])).all(axis=2, keepdims=True)
    return (np.where(inside, last - now, -np.float32(camera)) / 2).astype(np.float32)


class Camera:
    """Hands frames with a given flow to a propagator."""

    def __init__(self, history: float = 2.0) -> None:
        self.boxes, self.count, self.last = BoxPropagator(history), 0, None

    def show(self, flow: np.ndarray | None = None, reset: str | None = None) -> list[CarryError]:
        """The next frame with its backward flow at processing size; by default nothing moves."""
        self.count += 1
        flow = np.zeros((HEIGHT // 2, WIDTH // 2, 2), np.float32) if flow is None else flow
        small = HostCopy(torch.zeros(*flow.shape[:2], 3, dtype=torch.uint8))
        view = FramePrediction(np.zeros((HEIGHT, WIDTH, 3), np.uint8), small, small, flow)
        observed = HostCopy(torch.from_numpy(flow).permute(2, 0, 1))
        result = StepResult(self.stamp, PERIOD, reset, [view], self.last, observed)
        self.last = view
        return self.boxes.advance(result)

    @property
    def stamp(self) -> int:
        return self.count * PERIOD

    def found(self, ahead: bool = False) -> np.ndarray:
        found = self.boxes.boxes(ahead)
        assert found is not None
        return found.boxes


def given(*boxes: tuple[float, ...], attached: object = None) -> BoxSet:
    return BoxSet(np.array(boxes, float).reshape(-1, 4), attached)


def pan(x: float, y: float = 0.0) -> np.ndarray:
    """Everything moves by (x, y) pixels of the image."""
    return np.full((HEIGHT // 2, WIDTH // 2, 2), (-x / 2, -y / 2), np.float32)


@pytest.mark.parametrize("camera", [(0.0, 0.0), (-6.0, 2.0)])
def test_a_box_follows_its_object_and_not_the_background(camera: tuple[float, float]) -> None:
    # The object fills 44 % of its box.
    flow = backward((45.0, 35.0, 70.0, 56.0), (5.0, -3.0), camera=camera)
    moved = move_boxes(np.array([BOX]), flow, WIDTH, HEIGHT)
    np.testing.assert_allclose(moved, [(45, 27, 85, 57)], atol=0.7)


def test_a_box_grows_with_its_object() -> None:
    moved = move_boxes(np.array([BOX]), backward(BOX, (4.0, 2.0), zoom=1.1), WIDTH, HEIGHT)
    np.testing.assert_allclose(moved, [(42, 30.5, 86, 63.5)], atol=0.3)


def test_each_box_moves_by_its_own_pixels() -> None:
    other = (120.0, 60.0, 160.0, 100.0)
    flow = backward(BOX, (4.0, 2.0))
    together = move_boxes(np.array([BOX, other]), flow, WIDTH, HEIGHT)
    alone = [move_boxes(np.array([box]), flow, WIDTH, HEIGHT)[0] for box in (BOX, other)]
    np.testing.assert_allclose(together, alone)
    assert move_boxes(np.empty((0, 4)), flow, WIDTH, HEIGHT).shape == (0, 4)


def test_flow_is_believed_unless_no_motion_explains_the_frames_better() -> None:
    last = np.random.default_rng(0).random((64, 96), np.float32)
    moved, flow = np.roll(last, 3, axis=1), np.full((64, 96, 2), (-3.0, 0.0), np.float32)
    inner = np.s_[8:-8, 8:-8]
    np.testing.assert_array_equal(believed(flow, moved, last)[inner], flow[inner])
    np.testing.assert_array_equal(believed(flow, last, last)[inner], 0)


def test_late_boxes_come_to_where_timely_ones_are() -> None:
    late, timely = Camera(), Camera()
    for camera in (late, timely):
        camera.show(reset="first frame")
    timely.boxes.add(given(BOX), timely.stamp)
    described = late.stamp
    for camera in (late, timely):
        for _ in range(5):
            camera.show(pan(3.0, 1.5))
    late.boxes.add(given(BOX), described)
    np.testing.assert_allclose(late.found(), timely.found())
    np.testing.assert_allclose(late.found(), [[55, 37.5, 95, 67.5]], atol=0.05)
    np.testing.assert_allclose(late.found(ahead=True), [[58, 39, 98, 69]], atol=0.05)
    assert late.boxes.age == pytest.approx(0.2)


def test_what_is_attached_stays_with_its_boxes() -> None:
    camera = Camera()
    camera.show(reset="first frame")
    camera.boxes.add(given(BOX, attached="old"), camera.stamp)
    camera.boxes.add(given(BOX, BOX, attached="new"), camera.stamp + PERIOD)
    assert camera.boxes.boxes().attached == "old", "the frame of the new ones is still to come"
    assert camera.show() == []
    assert (camera.boxes.boxes().attached, len(camera.found())) == ("new", 2)
    camera.boxes.add(given(BOX, attached="repeated"), camera.stamp)
    assert camera.boxes.boxes().attached == "repeated"
    with pytest.raises(CarryError, match="older than those in use"):
        camera.boxes.add(given(BOX), camera.stamp - PERIOD)
    camera.show(reset="time jumped back")
    assert camera.boxes.boxes() is None


@pytest.mark.parametrize(("offset", "reason"), [(-60, "too late"), (60, "from the future")])
def test_boxes_of_the_wrong_time_are_refused(offset: int, reason: str) -> None:
    camera = Camera(history=1.0)
    for index in range(40):
        camera.show(reset=None if index else "first frame")
    with pytest.raises(CarryError, match=r"^detections ") as error:
        camera.boxes.add(given(BOX), camera.stamp + offset * PERIOD)
    assert error.value.reason == reason
    with pytest.raises(CarryError, match="1001 detections for one frame"):
        camera.boxes.add(BoxSet(np.zeros((1001, 4))), camera.stamp)


def test_boxes_that_leave_or_are_none_are_dropped_and_counted_once() -> None:
    camera = Camera()
    camera.show(reset="first frame")
    bad = (np.nan, 0.0, 10.0, 10.0), (50.0, 50.0, 40.0, 60.0), (0.0, 0.0, np.inf, 10.0)
    camera.boxes.add(given(BOX, (150.0, 30.0, 190.0, 60.0), (300.0, 0.0, 340.0, 20.0), *bad), camera.stamp)
    for _ in range(5):
        camera.show(pan(10.0))
    found = camera.found()
    np.testing.assert_allclose(found[0], (90, 30, 130, 60), atol=0.1)
    assert np.isnan(found[1:]).all()
    assert camera.boxes.dropped == {LEFT: 2, INVALID: 3}
    camera.boxes.add(given(bad[0]), camera.stamp)
    assert camera.boxes.dropped == {LEFT: 2, INVALID: 4}
    camera.boxes.clear()
    assert camera.boxes.dropped == {LEFT: 2, INVALID: 4}


def test_a_box_whose_pixels_scatter_hardly_moves() -> None:
    camera = Camera()
    camera.show(reset="first frame")
    camera.boxes.add(given(BOX), camera.stamp)
    flow = np.random.default_rng(0).uniform(-8, 8, (HEIGHT // 2, WIDTH // 2, 2)).astype(np.float32)
    camera.show(flow)
    np.testing.assert_allclose(camera.found(), [BOX], atol=2)
    assert not camera.boxes.dropped


def test_a_box_that_the_border_cuts_off_stays_at_the_border_while_its_object_comes_in() -> None:
    camera = Camera()
    camera.show(reset="first frame")
    camera.boxes.add(given((0.0, 30.0, 30.0, 60.0)), camera.stamp)
    for _ in range(3):
        camera.show(pan(4.0))
    np.testing.assert_allclose(camera.found(), [[0, 30, 42, 60]], atol=1.0)


def test_no_boxes_are_an_answer() -> None:
    camera = Camera()
    camera.show(reset="first frame")
    assert camera.boxes.boxes() is None
    camera.boxes.add(given(), camera.stamp)
    camera.show(pan(1.0))
    assert camera.found().shape == (0, 4)
