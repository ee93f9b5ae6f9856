"""What the node makes of events and of moving objects, from the motion of frames."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from networks import Drift

from stvae_ros.checkpoint import find
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.core.loop import PERIOD, Sample
from stvae_ros.evaluation.masks import FrameDifference, NetworkMask, background_mixture, evaluate_masks
from stvae_ros.events.images import EventImage, grey_image
from stvae_ros.events.simulator import EventModel, EventSimulator
from stvae_ros.streaming import Frame, StepResult, StreamingPredictor
from stvae_ros.streaming.camera_events import CameraEvents
from stvae_ros.streaming.labels import LabelPropagator
from stvae_ros.streaming.motion_mask import camera_motion, moving
from stvae_ros.streaming.outputs import OUTPUTS, CameraState, make
from stvae_ros.visualization.event_colors import events_to_color, events_to_grey
from stvae_ros.visualization.label_colors import ClassTable

MS = 1_000_000
MODEL = EventModel(theta_on=0.1, theta_off=0.15)


def motions(images: list[np.ndarray]) -> list[StepResult]:
    height, width = images[0].shape[:2]
    predictor = StreamingPredictor(Drift(2, channels=3), "cpu", "fp32", (width, height))
    found = [predictor.step({"a": Frame(image, 40 * MS * (t + 1))})["a"] for t, image in enumerate(images)]
    assert all(motion is not None for motion in found)
    return [motion for motion in found if motion is not None]


def drifting(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    noise = np.random.default_rng(0).integers(20, 236, (height // 4, 40, 3), np.uint8)
    texture = cv2.resize(noise, (160, height), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(texture[:, 90 - 2 * t : 90 - 2 * t + width]) for t in range(count)]


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


def test_events_of_a_camera_are_the_simulators() -> None:
    images = drifting(5)
    events, simulator = CameraEvents(MODEL), EventSimulator(MODEL)
    for motion, image in zip(motions(images), images, strict=True):
        made, expected = events.advance(motion), simulator.step(grey(image), motion.stamp)
        assert (made is None) == (expected is None)
        if made is not None and expected is not None:
            assert np.array_equal(made, expected.counts) and (made > 0).any() and (made < 0).any()


def test_frames_that_nobody_asked_for_cost_memory_alone() -> None:
    seen = motions(drifting(5))
    events = CameraEvents(MODEL)
    events.advance(seen[1])
    made = events.advance(seen[4])
    fresh = EventSimulator(MODEL)
    fresh.step(grey(seen[3].image), 0)
    expected = fresh.step(grey(seen[4].image), 1)
    assert made is not None and expected is not None and np.array_equal(made, expected.counts)
    assert events.advance(seen[0]) is None, "a first frame"


def test_predicted_and_surprise_events() -> None:
    images = drifting(5)
    events = CameraEvents(MODEL)
    seen = motions(images)
    for motion, following in pairwise(seen):
        made = events.advance(motion)
        before = events.predicted(motion)
        again = events.predicted(motion)
        assert made is None or before is not None
        if made is None or before is None or again is None:
            continue
        assert np.array_equal(before, again), "a forecast changes nothing"
        expected = events._simulator.preview(grey(following.image), following.stamp)
        assert expected is not None
        inside = np.s_[:, 4:-4]
        assert np.array_equal(before[inside], expected.counts[inside]), "the prediction comes true"
    surprise = events.surprise(seen[-1])
    assert surprise is not None and not surprise[:, 4:-4].any() and events.surprise(seen[0]) is None
    dark = seen[-1].image.copy()
    dark[10:20, 20:30] //= 4
    unforeseen = motions([*images[:-1], dark])[-1]
    surprise = events.surprise(unforeseen)
    assert surprise is not None and (surprise[10:20, 20:30] < 0).mean() > 0.9
    events.set_model(EventModel(theta_on=9.0, theta_off=9.0))
    assert not np.any(events.surprise(unforeseen))


def test_frames_that_are_event_images() -> None:
    image = EventImage(limit=5)
    counts = [np.zeros((16, 24), np.int16) for _ in range(3)]
    for t, count in enumerate(counts):
        count[4:8, 4 + 2 * t] = 3
        count[4:8, 5 + 2 * t] = -7
    frames = [grey_image(count, 5) for count in counts]
    predictor = StreamingPredictor(Drift(2, channels=3), "cpu", "fp32", (24, 16))
    events = CameraEvents(shown=image)
    for t, frame in enumerate(frames):
        motion = predictor.step({"a": Frame(frame, 40 * MS * (t + 1))})["a"]
        assert motion is not None
        assert np.array_equal(events.advance(motion), counts[t].clip(-5, 5))
        if t < 2:
            assert np.array_equal(events.predicted(motion), counts[t + 1].clip(-5, 5))
    assert not np.any(events.surprise(motion))


def test_pictures_of_events() -> None:
    counts = np.array([[-2, 0, 1]])
    assert events_to_grey(counts).tolist() == [[0, 128, 255]]
    off, none, on = events_to_color(counts)[0].tolist()
    assert off[0] > 200 > off[2] and none == [255, 255, 255] and on[2] > 200 > on[0]


def test_outputs_of_a_frame() -> None:
    events, state, kinds = CameraEvents(MODEL), CameraState(LabelPropagator()), {}
    names = [output for output in OUTPUTS if "events" in output.name or output.name == "motion_mask"]
    for motion in motions(drifting(3)):
        made = list(make(state.advance(motion, names, ClassTable(), events), names))
        kinds = {each.name: (each.array.shape, each.encoding, each.stamp - motion.stamp) for each in made}
        assert bool(made) == (motion.previous is not None)
    for kind in ("events", "predicted_events", "surprise_events"):
        ahead = 40 * MS if kind == "predicted_events" else 0
        assert kinds[kind] == ((48, 64), "mono8", ahead) and kinds[f"{kind}_color"] == ((48, 64, 3), "bgr8", ahead)
    assert kinds["motion_mask"] == ((48, 64), "mono8", 0) and len(kinds) == 7


def test_an_output_does_not_depend_on_the_other_outputs_that_are_wanted() -> None:
    by_name = {output.name: output for output in OUTPUTS}
    groups = {"events": ("events", "events_color", "predicted_events"), "mask": ("motion_mask",)}
    for needs, names in groups.items():
        assert {output.name for output in OUTPUTS if output.needs == needs} >= set(names)

    def outputs_of(name: str, others: list[tuple[str, ...]]) -> list[bytes]:
        """The output of each frame, when ``others`` are wanted, too: other topics at each frame."""
        events, state, found = CameraEvents(MODEL), CameraState(LabelPropagator()), []
        for index, motion in enumerate(motions(drifting(6))):
            wanted = [by_name[each] for each in others[index % len(others)]] + [by_name[name]]
            context = state.advance(motion, wanted, ClassTable(), events)
            for _ in range(2):  # making an output changes nothing
                made = {each.name: each.array.tobytes() for each in make(context, wanted)}
            found.append(made.get(name, b""))
        return found

    for name in ("events", "predicted_events", "surprise_events", "motion_mask"):
        alone = outputs_of(name, [()])
        assert any(alone)
        assert outputs_of(name, [("events_color", "motion_mask"), (), ("surprise_events", "predicted_events")]) == alone


def test_one_subscriber_of_events_keeps_them_going_for_all() -> None:
    by_name = {output.name: output for output in OUTPUTS}

    def last_events(before: str) -> bytes:
        events, state = CameraEvents(MODEL), CameraState(LabelPropagator())
        *first, last = motions(drifting(6))
        for motion in first:
            state.advance(motion, [by_name[before]], ClassTable(), events)
        wanted = [by_name["events"]]
        (made,) = make(state.advance(last, wanted, ClassTable(), events), wanted)
        return made.array.tobytes()

    assert last_events("events") == last_events("events_color") == last_events("predicted_events")


def test_camera_motion_is_that_of_most() -> None:
    flow = np.full((96, 128, 2), (3.0, -1.0), np.float32)
    flow[20:60, 30:70] = (-2.0, 2.0)
    np.testing.assert_allclose(camera_motion(flow), np.broadcast_to((3.0, -1.0), flow.shape), atol=0.05)
    assert np.abs(camera_motion(np.zeros((96, 128, 2), np.float32))).max() < 1e-6


def test_what_moves_by_itself_and_what_only_seems_to() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 60), np.uint8)
    world = cv2.resize(noise, (240, 160), interpolation=cv2.INTER_CUBIC)
    last, now = world[20:116, 20:148].copy(), world[20:116, 23:151].copy()
    last[30:60, 40:80] = world[100:130, 180:220]
    now[30:60, 44:84] = world[100:130, 180:220]
    flow = np.full((96, 128, 2), (3.0, 0.0), np.float32)
    flow[30:60, 44:84] = (-4.0, 0.0)
    score = moving(last, now, flow)
    assert score[34:56, 48:80].min() > 0.9
    assert score[:26].max() == 0 and score[64:].max() == 0, "the camera's motion is not what moves by itself"
    wrong = flow.copy()
    wrong[70:90, 20:60] = (-9.0, 5.0)
    assert moving(last, now, wrong)[72:88, 22:58].mean() < 0.05, "a flow that explains nothing is no motion"


def test_mask_beside_what_opencv_offers() -> None:
    pytest.importorskip("torchmetrics")

    scene = SyntheticScene(7778, 160, 112)
    samples = [Sample(scene.frame(t), t * PERIOD, moving=scene.truth(t).labels > 0) for t in range(9)]
    predictor = StreamingPredictor.from_weights(find("stvae-rt-s"), (160, 112))
    scores = evaluate_masks(
        samples, {"ours": NetworkMask(predictor), "difference": FrameDifference(), "MOG2": background_mixture()}
    )
    ious = {name: score.mean("iou") for name, score in scores.items()}
    assert len(scores["ours"]["iou"]) == len(scores["ours"]["ms"]) == 7
    assert ious["ours"] > 0.5 and ious["ours"] > ious["difference"] + 0.2, ious
