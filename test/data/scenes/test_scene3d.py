"""3-D scenes: what they say about their pictures is exact."""

import cv2
import numpy as np
import pytest

from stvae_ros.data.scenes.scene3d import Scene3D

WIDTH, HEIGHT = 160, 120
SCENES = [("street", "drive"), ("street", "walk"), ("corridor", "shake"), ("room", "pan")]


@pytest.fixture(params=SCENES, ids="-".join)
def scene(request):
    return Scene3D(5, WIDTH, HEIGHT, *request.param, rate=15)


def grid():
    return np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))


def warped(values, flow):
    x, y = grid()
    return cv2.remap(values, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)


def interior(labels, depth):
    """Pixels away from the edges of things, where a warp mixes two of them."""
    near = 1 / depth
    kernel = np.ones((5, 5), np.uint8)
    smooth = cv2.dilate(near, kernel) - cv2.erode(near, kernel) < 0.1 * near + 1e-3
    return smooth & (cv2.dilate(labels, kernel) == cv2.erode(labels, kernel))


def test_the_current_frame_warped_by_the_backward_flow_is_the_next_one(scene):
    now, following, truth, after = scene.frame(3), scene.frame(4), scene.truth(3), scene.truth(4)
    known = truth.visible & interior(after.labels, after.depth)
    error = np.abs(warped(now, truth.backward_flow).astype(float) - following).mean(axis=2)
    still = np.abs(now.astype(float) - following).mean(axis=2)
    assert known.mean() > 0.4
    assert error[known].mean() < 2.5
    assert error[known].mean() < 0.5 * still[known].mean()


def test_forward_and_backward_flow_agree(scene):
    truth, after = scene.truth(3), scene.truth(4)
    known = truth.visible & interior(after.labels, after.depth)
    there_and_back = truth.backward_flow + warped(truth.forward_flow, truth.backward_flow)
    error = np.linalg.norm(there_and_back, axis=2)[known]
    assert np.percentile(error, 95) < 0.05
    assert np.median(error) < 0.005


def test_depth_pose_and_intrinsics_give_the_flow_of_what_stands(scene):
    truth = scene.truth(3)
    x, y = grid()
    rays = np.linalg.inv(scene.intrinsics) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    change = np.linalg.inv(scene.pose(4)) @ scene.pose(3)
    point = change[:3, :3] @ rays + change[:3, 3:] / truth.depth.ravel()
    image = scene.intrinsics @ point
    expected = np.stack([image[0] / image[2] - x.ravel(), image[1] / image[2] - y.ravel()], axis=1)
    error = np.abs(truth.forward_flow.reshape(-1, 2) - expected).max(axis=1)
    still = ~truth.moving.ravel() & (image[2] > 1e-3)
    assert still.mean() > 0.5
    assert error[still].max() < 1e-2


def test_what_is_visible_has_the_same_label_in_the_other_frame(scene):
    truth, after = scene.truth(3), scene.truth(4)
    x, y = grid()
    back = cv2.remap(truth.labels, x + truth.backward_flow[..., 0], y + truth.backward_flow[..., 1], cv2.INTER_NEAREST)
    assert (back == after.labels)[truth.visible].mean() > 0.98


def test_frames_are_a_function_of_arguments_and_time():
    first, again = (Scene3D(11, WIDTH, HEIGHT) for _ in range(2))
    later = [again.frame(t) for t in (40, 7, 8)]
    for t, frame in zip((40, 7, 8), later, strict=True):
        assert np.array_equal(first.frame(t), frame)
    assert np.array_equal(first.flow(8, 7)[0], again.flow(8, 7)[0])
    assert not np.array_equal(Scene3D(12, WIDTH, HEIGHT).frame(7), later[1])
