"""Synthetic scenes: the ground truth agrees with the frames."""

import cv2
import numpy as np
import pytest

from stvae_ros.data.scenes.shapes import CLASS_NAMES, SyntheticScene
from stvae_ros.streaming.flow import move


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean absolute difference of two pictures over their channels."""
    return np.abs(a.astype(float) - b).mean(axis=2)


def test_frames_and_truth_have_the_documented_shapes() -> None:
    scene = SyntheticScene(0, 70, 50)
    frame, truth = scene.frame(0), scene.truth(0)
    assert frame.shape == (50, 70, 3) and frame.dtype == np.uint8
    assert truth.backward_flow.shape == truth.forward_flow.shape == (50, 70, 2)
    assert truth.backward_flow.dtype == truth.forward_flow.dtype == np.float32
    assert truth.visible.shape == truth.labels.shape == (50, 70)
    assert truth.visible.dtype == np.bool_ and truth.labels.dtype == np.uint8


def test_frames_and_truth_do_not_depend_on_the_order_of_calls() -> None:
    forwards, backwards = SyntheticScene(11, 48, 40), SyntheticScene(11, 48, 40)
    frames = {t: forwards.frame(t) for t in range(6)}
    truths = {t: forwards.truth(t) for t in range(6)}
    for t in (5, 0, 3, 1, 4, 2):
        truth = backwards.truth(t)
        assert np.array_equal(backwards.frame(t), frames[t])
        assert np.array_equal(truth.backward_flow, truths[t].backward_flow)
        assert np.array_equal(truth.forward_flow, truths[t].forward_flow)
        assert np.array_equal(truth.visible, truths[t].visible)
        assert np.array_equal(truth.labels, truths[t].labels)


def test_the_caller_may_change_a_frame() -> None:
    scene = SyntheticScene(4, 32, 32)
    frame = scene.frame(0)
    kept = frame.copy()
    frame[:] = 0
    assert np.array_equal(scene.frame(0), kept)


@pytest.mark.parametrize("objects", [0, 4])
@pytest.mark.parametrize("t", [0, 17, 90])
def test_backward_flow_explains_the_next_frame_far_better_than_copying(objects: int, t: int) -> None:
    scene = SyntheticScene(8, 160, 120, objects=objects, max_speed=5.0, camera_motion=2.0)
    current, following, truth = scene.frame(t), scene.frame(t + 1), scene.truth(t)
    moved = difference(move(current, truth.backward_flow), following)[truth.visible].mean()
    copied = difference(current, following)[truth.visible].mean()
    opposite = difference(move(current, -truth.backward_flow), following)[truth.visible].mean()
    assert moved < 4.0, "grey levels; the rest is interpolation"
    assert moved < 0.25 * copied and copied < opposite


def test_forward_flow_leads_to_the_pixel_whose_backward_flow_leads_back() -> None:
    scene = SyntheticScene(5, 160, 120, objects=3)
    truth = scene.truth(12)
    back_there = move(truth.forward_flow, truth.backward_flow)
    error = np.linalg.norm(truth.backward_flow + back_there, axis=2)
    # Interpolation mixes layers at their outlines; inside a layer the two flows are exact inverses.
    outline = cv2.dilate(np.float32(np.abs(np.diff(truth.labels.astype(int), axis=0, prepend=0)) > 0), np.ones((9, 9)))
    outline += cv2.dilate(np.float32(np.abs(np.diff(truth.labels.astype(int), axis=1, prepend=0)) > 0), np.ones((9, 9)))
    inside = truth.visible & (outline == 0)
    assert inside.mean() > 0.5
    assert np.quantile(error[inside], 0.99) < 0.01
    assert np.linalg.norm(truth.forward_flow, axis=2).max() > 1.0, "and something moves"


def test_uncovered_background_is_not_visible_before() -> None:
    scene = SyntheticScene(2, 160, 120, objects=4, max_speed=6.0, camera_motion=0)
    truth, next_truth = scene.truth(5), scene.truth(6)
    uncovered = (truth.labels > 0) & (next_truth.labels == 0)
    assert uncovered.sum() > 20
    assert not truth.visible[uncovered].any(), "the object hid this background in the frame before"
    stayed = (truth.labels == 0) & (next_truth.labels == 0)
    assert truth.visible[stayed].all()
    assert np.abs(truth.backward_flow[stayed]).max() < 1e-5


def test_labels_name_the_four_shapes() -> None:
    labels = set()
    for seed in range(3):
        found = set(np.unique(SyntheticScene(seed, 160, 120, objects=8).truth(0).labels).tolist())
        assert found <= set(range(len(CLASS_NAMES)))
        labels |= found
    assert labels == {0, 1, 2, 3, 4}
    assert CLASS_NAMES == ("background", "disc", "box", "triangle", "star")
    assert not SyntheticScene(0, 64, 64, objects=0).truth(0).labels.any()


def test_no_motion_at_all_gives_identical_frames_and_no_flow() -> None:
    scene = SyntheticScene(3, 64, 48, objects=0, camera_motion=0)
    first = scene.frame(0)
    for t in (1, 2, 50):
        assert np.array_equal(scene.frame(t), first)
        truth = scene.truth(t)
        assert np.abs(truth.forward_flow).max() < 1e-5 and np.abs(truth.backward_flow).max() < 1e-5
        assert truth.visible.all()


@pytest.mark.parametrize("speed", [1.0, 5.0])
def test_objects_are_not_faster_than_the_largest_speed(speed: float) -> None:
    """Rotation and zoom add less than 2 pixels per frame at the outline of an object."""
    for seed in range(4):
        truth = SyntheticScene(seed, 96, 96, objects=3, max_speed=speed, camera_motion=0).truth(0)
        moving = truth.labels > 0
        assert np.linalg.norm(truth.forward_flow[moving], axis=1).max() < speed + 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 15}, "15x240 is too small"),
        ({"height": 0}, "320x0 is too small"),
        ({"objects": 251}, "251 objects"),
        ({"objects": -1}, "negative"),
        ({"max_speed": -0.1}, "negative"),
        ({"camera_motion": -1.0}, "negative"),
    ],
)
def test_arguments_out_of_range(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticScene(0, **arguments)


def test_arguments_at_the_edge_of_the_range() -> None:
    assert SyntheticScene(0, 16, 16, objects=250, max_speed=0.0).frame(0).shape == (16, 16, 3)
