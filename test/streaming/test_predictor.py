"""The streaming predictor: time rules, several cameras, and the meaning of its outputs."""

import gc
import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from stvae_ros import zoo
from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.runtime.device import resolve_device, resolve_precision
from stvae_ros.streaming import Frame, FrameError, StepResult, StreamingPredictor
from stvae_ros.streaming.flow import invert_flow, move, resize_flow

MS = 1_000_000


class ConstantFlow(FramePredictor):
    """Says that everything moves right by 2 and up by 1 pixel of the processed frame, and counts its frames."""

    in_channels = 1
    size_multiple = 1

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def initial_state(self, batch: int, height: int, width: int) -> State:
        return (torch.zeros(batch, 1),)

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        backward = torch.tensor([-2.0, 1.0]).view(1, 2, 1, 1).expand(len(frame), 2, *frame.shape[-2:])
        return Prediction(frame * 0 + state[0].view(-1, 1, 1, 1) / 255, backward), (state[0] + 1,)


def seen(motion: StepResult | None) -> int:
    """Frames that the memory had seen before this one."""
    assert motion is not None
    return int(motion.decoded[0, 0])


def image(seed: int = 0, shape: tuple[int, ...] = (48, 64, 3)) -> np.ndarray:
    return cv2.blur(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), (3, 3))


@pytest.fixture
def counting() -> StreamingPredictor:
    return StreamingPredictor(ConstantFlow(), "cpu", "fp32", (32, 24), max_gap=1.0)


def test_memory_grows_with_frames(counting: StreamingPredictor) -> None:
    motions = [counting.step({"a": Frame(image(t), 40 * MS * t)})["a"] for t in range(4)]
    assert [seen(m) for m in motions] == [0, 1, 2, 3]
    assert [m and m.reset for m in motions] == ["first frame", None, None, None]


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (Frame(image(), 39 * MS), "time jumped back"),
        (Frame(image(), 1041 * MS), "gap"),
        (Frame(image(shape=(24, 32, 3)), 80 * MS), "resolution changed"),
        (Frame(image(shape=(48, 64)), 80 * MS), "resolution changed"),
    ],
)
def test_time_rules_reset_one_camera_alone(counting: StreamingPredictor, second: Frame, reason: str) -> None:
    for name in ("a", "b"):
        counting.step({name: Frame(image(), 40 * MS)})
    motions = counting.step({"a": second, "b": Frame(image(), 80 * MS)})
    assert motions["a"] and motions["a"].reset == reason and seen(motions["a"]) == 0
    assert motions["b"] and motions["b"].reset is None and seen(motions["b"]) == 1


def test_a_gap_of_exactly_max_gap_is_no_gap(counting: StreamingPredictor) -> None:
    counting.step({"a": Frame(image(), 0)})
    motion = counting.step({"a": Frame(image(), 1000 * MS)})["a"]
    assert motion and motion.reset is None


def test_requested_reset(counting: StreamingPredictor) -> None:
    counting.step({"a": Frame(image(), 0), "b": Frame(image(), 0)})
    counting.reset("a")
    motions = counting.step({"a": Frame(image(), 40 * MS), "b": Frame(image(), 40 * MS)})
    assert motions["a"] and motions["a"].reset == "requested" and seen(motions["a"]) == 0
    assert seen(motions["b"]) == 1
    counting.reset()
    assert counting.cameras == ()


def test_a_repeated_stamp_is_dropped(counting: StreamingPredictor) -> None:
    counting.step({"a": Frame(image(), 5)})
    assert counting.step({"a": Frame(image(1), 5)}) == {"a": None}
    assert seen(counting.step({"a": Frame(image(2), 6)})["a"]) == 1


def test_flow_prediction_and_surprise(counting: StreamingPredictor) -> None:
    first = counting.step({"a": Frame(image(0), 0)})["a"]
    assert first and first.surprise is None
    # Twice the processing size: 2 and 1 pixels there are 4 and 2 here.
    np.testing.assert_allclose(first.flow, np.broadcast_to(np.float32([4, -2]), (48, 64, 2)), atol=1e-5)
    np.testing.assert_allclose(first.backward_flow[..., 0], -4, atol=1e-5)
    assert first.prediction.dtype == np.uint8 and first.prediction.shape == (48, 64, 3)
    np.testing.assert_array_equal(first.prediction[:-2, 4:], image(0)[2:, :-4])
    second = counting.step({"a": Frame(image(1), 40 * MS)})["a"]
    assert second and second.surprise is not None and second.surprise.shape == (48, 64)
    expected = np.abs(image(1).astype(float) - first.prediction).mean(axis=2) / 255
    np.testing.assert_allclose(second.surprise, expected, atol=1e-5)
    grey = counting.step({"g": Frame(image(0, (48, 64)), 0)})["g"]
    assert grey and grey.prediction.shape == (48, 64)


def test_period_is_the_median_interval(counting: StreamingPredictor) -> None:
    stamps = [0, 40, 80, 250, 290, 330]
    motions = [counting.step({"a": Frame(image(), s * MS)})["a"] for s in stamps]
    last = motions[-1]
    assert last and last.period == 40 * MS and last.next_stamp == 370 * MS


def test_inverse_of_a_smooth_flow() -> None:
    y, x = np.mgrid[:40, :50].astype(np.float32)
    backward = np.stack([2 + np.sin(y / 9), np.cos(x / 11)], axis=-1).astype(np.float32)
    forward = invert_flow(backward)
    back = cv2.remap(backward, x + forward[..., 0], y + forward[..., 1], cv2.INTER_LINEAR)
    inside = np.s_[5:-5, 5:-5]
    np.testing.assert_allclose((forward + back)[inside], 0, atol=0.02)


def test_bad_frames_change_nothing(counting: StreamingPredictor) -> None:
    counting.step({"a": Frame(image(), 0)})
    for bad in (image().astype(np.float32), image(shape=(4, 4, 4)), np.zeros((0, 4), np.uint8)):
        with pytest.raises(FrameError, match="'a'"):
            counting.step({"a": Frame(bad, 40 * MS)})
    assert seen(counting.step({"a": Frame(image(), 40 * MS)})["a"]) == 1


def test_batched_cameras_equal_single_ones_and_stores_do_not_grow() -> None:
    torch.manual_seed(0)
    network = zoo.create("ae-convlstm-flow", encoder_gain=8.0)
    torch.nn.init.normal_(network.flow.out.weight)  # type: ignore[union-attr]
    make = lambda: StreamingPredictor(network, "cpu", "fp32", (32, 24))  # noqa: E731
    both, alone = make(), make()
    for t in range(20):
        frames = {"a": Frame(image(t), 40 * MS * t), "b": Frame(image(100 + t), 40 * MS * t)}
        together = both.step(frames)
        single = alone.step({"a": frames["a"]})["a"]
        assert together["a"] and single
        np.testing.assert_allclose(together["a"].flow, single.flow, atol=1e-3)
    assert both.cameras == ("a", "b")
    assert all(part.shape[0] == 1 for memory in both._memories.values() for part in memory.state)
    assert len(both._clocks["a"].periods) == 9


def test_a_network_that_takes_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 channels takes no images.*evaluate events.*representation: signed"):
        StreamingPredictor(zoo.create("stvae-rt-s", in_channels=2))


def test_devices_and_precisions() -> None:
    cpu = torch.device("cpu")
    assert resolve_precision("auto", cpu) in ("fp32", "bf16")
    for device in ("nonsense", "cuda:99", "meta", "CPU"):
        with pytest.raises(ValueError, match=device):
            resolve_device(device)
    for precision in ("fp8", "fp16"):
        with pytest.raises(ValueError, match=precision):
            resolve_precision(precision, cpu)
    with pytest.raises(ValueError, match="33x24"):
        StreamingPredictor(zoo.create("ae-convlstm-flow"), "cpu", "fp32", (33, 24))


class Stub(FramePredictor):
    """Predicts a given constant flow, or none, and keeps the frames that it was shown."""

    in_channels = 1
    size_multiple = 1

    def __init__(self, backward: tuple[float, float] | None, channels: int = 1) -> None:
        super().__init__()
        self.in_channels = channels
        self.backward_flow = backward
        self.shown: list[Tensor] = []

    def initial_state(self, batch: int, height: int, width: int) -> State:
        return (torch.zeros(batch, 1),)

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        self.shown.append(frame)
        flow = None
        if self.backward_flow is not None:
            flow = torch.tensor(self.backward_flow).view(1, 2, 1, 1).expand(len(frame), 2, *frame.shape[-2:])
        return Prediction(frame, flow), (state[0] + 1,)


def moving_network() -> FramePredictor:
    """The real network with a last layer that makes it answer with flow."""
    torch.manual_seed(0)
    network = zoo.create("ae-convlstm-flow", encoder_gain=8.0)
    torch.nn.init.normal_(network.flow.out.weight)  # type: ignore[union-attr]
    return network


@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 3)], ids=["grey", "colour"])
def test_a_backward_flow_of_minus_3_moves_everything_right_by_3(shape: tuple[int, ...]) -> None:
    picture = image(1, shape)
    motion = StreamingPredictor(Stub((-3.0, 0.0)), "cpu", "fp32", (32, 24)).step({"a": Frame(picture, 0)})["a"]
    assert motion is not None
    expected = np.concatenate([np.repeat(picture[:, :1], 3, axis=1), picture[:, :-3]], axis=1)
    np.testing.assert_array_equal(motion.prediction, expected)
    assert motion.prediction.shape == shape and motion.prediction.dtype == np.uint8
    np.testing.assert_allclose(motion.flow, np.broadcast_to(np.float32([3, 0]), (24, 32, 2)), atol=1e-5)
    np.testing.assert_allclose(motion.backward_flow, -motion.flow, atol=1e-5)
    assert motion.flow.dtype == motion.backward_flow.dtype == np.float32


@pytest.mark.parametrize(("width", "height"), [(64, 24), (32, 72), (16, 12), (100, 60)])
def test_flow_is_scaled_to_the_pixels_of_the_image(width: int, height: int) -> None:
    predictor = StreamingPredictor(Stub((-2.0, 1.0)), "cpu", "fp32", (32, 24))
    motion = predictor.step({"a": Frame(image(1, (height, width, 3)), 0)})["a"]
    assert motion is not None
    vector = np.float32([2 * width / 32, -1 * height / 24])
    np.testing.assert_allclose(motion.flow, np.broadcast_to(vector, (height, width, 2)), atol=1e-4)
    assert motion.small_flow.shape == (24, 32, 2)
    np.testing.assert_allclose(motion.small_flow[12, 16], vector, atol=1e-4)
    np.testing.assert_array_equal(motion.prediction, move(image(1, (height, width, 3)), motion.backward_flow))


def test_forward_flow_leads_where_the_prediction_shows_the_pixel() -> None:
    """With a flow that varies: what stands at p now stands at p + flow(p) in the prediction."""
    predictor = StreamingPredictor(moving_network(), "cpu", "fp32", (64, 48))
    y, x = np.mgrid[:48, :64].astype(np.float32)
    picture = (2 * x + y).astype(np.uint8)
    motion = None
    for t in range(3):
        motion = predictor.step({"a": Frame(picture, 40 * MS * t)})["a"]
    assert motion is not None and np.abs(motion.flow).max() > 0.2
    forward = motion.flow
    error = forward + move(motion.backward_flow, forward)
    assert np.median(np.abs(error[8:-8, 8:-8])) < 0.05
    seen_there = move(motion.prediction.astype(np.float32), forward)
    assert np.median(np.abs(seen_there - picture)[8:-8, 8:-8]) < 1.0


@pytest.mark.parametrize("shape", [(48, 64, 3), (48, 64)], ids=["colour", "grey"])
def test_a_network_without_flow_predicts_what_it_draws(shape: tuple[int, ...]) -> None:
    picture = image(2, shape)
    motion = StreamingPredictor(Stub(None), "cpu", "fp32", (32, 24)).step({"a": Frame(picture, 0)})["a"]
    assert motion is not None and motion.decoded.shape == (24, 32)
    assert motion.prediction.shape == shape and motion.prediction.dtype == np.uint8
    grey = motion.prediction if len(shape) == 2 else motion.prediction[..., 1]
    np.testing.assert_array_equal(grey, cv2.resize(motion.decoded, (64, 48)))
    assert not motion.flow.any() and motion.flow.shape == (48, 64, 2)


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)], ids=["grey", "colour"])
def test_surprise_is_the_difference_to_what_was_predicted(shape: tuple[int, ...]) -> None:
    predictor = StreamingPredictor(Stub((-2.0, 1.0)), "cpu", "fp32", (32, 24))
    previous = None
    for t in range(3):
        picture = image(t, shape)
        motion = predictor.step({"a": Frame(picture, 40 * MS * t)})["a"]
        assert motion is not None
        if previous is None:
            assert motion.surprise is None
        else:
            difference = np.abs(picture.astype(float) - previous) / 255
            expected = difference if len(shape) == 2 else difference.mean(axis=2)
            assert motion.surprise is not None and motion.surprise.dtype == np.float32
            np.testing.assert_allclose(motion.surprise, expected, atol=1e-6)
            assert motion.surprise.min() >= 0 and motion.surprise.max() <= 1
        previous = motion.prediction


def test_surprise_is_one_where_black_was_expected_and_white_came() -> None:
    predictor = StreamingPredictor(Stub(None), "cpu", "fp32", (32, 24))
    predictor.step({"a": Frame(np.zeros((24, 32, 3), np.uint8), 0)})
    motion = predictor.step({"a": Frame(np.full((24, 32, 3), 255, np.uint8), MS)})["a"]
    assert motion is not None and motion.surprise is not None
    np.testing.assert_allclose(motion.surprise, 1.0, atol=1e-6)
    predictor.reset("a")
    after = predictor.step({"a": Frame(np.zeros((24, 32, 3), np.uint8), 2 * MS)})["a"]
    assert after is not None and after.surprise is None, "nothing was predicted for the first frame after a reset"


def send_broken(predictor: StreamingPredictor) -> None:
    with pytest.raises(FrameError, match="'b'"):
        predictor.step({"b": Frame(image()[..., :2], 10**9)})


EVENTS = {
    "stamp back": lambda predictor: predictor.step({"b": Frame(image(50), 1)}),
    "gap": lambda predictor: predictor.step({"b": Frame(image(50), 10**12)}),
    "resolution": lambda predictor: predictor.step({"b": Frame(image(50, (24, 32, 3)), 130 * MS)}),
    "channels": lambda predictor: predictor.step({"b": Frame(image(50, (48, 64)), 130 * MS)}),
    "same stamp": lambda predictor: predictor.step({"b": Frame(image(50), 120 * MS)}),
    "reset": lambda predictor: predictor.reset("b"),
    "broken frame": send_broken,
}


@pytest.mark.parametrize("event", EVENTS)
def test_what_happens_to_one_camera_leaves_the_other_as_if_alone(event: str) -> None:
    network = moving_network()
    alone, shared = (StreamingPredictor(network, "cpu", "fp32", (32, 24)) for _ in range(2))
    for t in range(6):
        frame = Frame(image(t), 40 * MS * t)
        expected, found = alone.step({"a": frame})["a"], shared.step({"a": frame})["a"]
        assert expected is not None and found is not None
        assert found.reset == expected.reset and found.period == expected.period
        np.testing.assert_array_equal(found.flow, expected.flow)
        np.testing.assert_array_equal(found.prediction, expected.prediction)
        if t < 4:
            shared.step({"b": Frame(image(30 + t), 40 * MS * t)})
        else:
            EVENTS[event](shared)


@pytest.mark.parametrize("event", ["stamp back", "gap", "resolution", "channels", "reset"])
def test_after_a_reset_a_camera_is_as_new(event: str) -> None:
    network = moving_network()
    used = StreamingPredictor(network, "cpu", "fp32", (32, 24))
    for t in range(4):
        used.step({"b": Frame(image(30 + t), 40 * MS * t)})
    found = EVENTS[event](used)
    if event == "reset":
        found = used.step({"b": Frame(image(50), 160 * MS)})
    shape = {"resolution": (24, 32, 3), "channels": (48, 64)}.get(event, (48, 64, 3))
    fresh = StreamingPredictor(network, "cpu", "fp32", (32, 24)).step({"b": Frame(image(50, shape), 0)})
    assert found["b"].reset not in (None, "first frame") and found["b"].surprise is None
    np.testing.assert_array_equal(found["b"].flow, fresh["b"].flow)  # type: ignore[union-attr]


def test_the_reason_of_a_reset_is_given_once(counting: StreamingPredictor) -> None:
    counting.step({"a": Frame(image(), 0)})
    counting.reset("a", "moved by hand")
    counting.reset("never seen")
    motions = [counting.step({"a": Frame(image(), (t + 1) * MS)})["a"] for t in range(2)]
    assert [m and m.reset for m in motions] == ["moved by hand", None]
    assert counting.cameras == ("a",)


def test_a_dropped_frame_changes_nothing(counting: StreamingPredictor) -> None:
    counting.step({"a": Frame(image(0), 0), "b": Frame(image(0), 0)})
    motions = counting.step({"a": Frame(image(1, (24, 32)), 0), "b": Frame(image(1), 40 * MS)})
    assert motions["a"] is None and seen(motions["b"]) == 1
    motion = counting.step({"a": Frame(image(2), 40 * MS)})["a"]
    assert motion is not None and motion.reset is None and seen(motion) == 1 and motion.surprise is not None
    assert counting.step({}) == {}


def test_one_bad_frame_in_a_batch_leaves_all_memories_alone(counting: StreamingPredictor) -> None:
    counting.step({"a": Frame(image(), 0), "b": Frame(image(), 0)})
    with pytest.raises(FrameError, match=r"'b'.*float64"):
        counting.step({"a": Frame(image(), 40 * MS), "b": Frame(image().astype(float), 40 * MS)})
    motions = counting.step({"a": Frame(image(), 40 * MS), "b": Frame(image(), 40 * MS)})
    assert [seen(m) for m in motions.values()] == [1, 1]


@pytest.mark.parametrize("shape", [(4,), (4, 4, 1), (4, 4, 2), (4, 4, 4), (0, 4), (4, 0, 3), (1, 4, 4, 3)])
def test_images_of_other_shapes_are_refused(counting: StreamingPredictor, shape: tuple[int, ...]) -> None:
    with pytest.raises(FrameError, match="'a': the image has shape"):
        counting.step({"a": Frame(np.zeros(shape, np.uint8), 0)})
    assert counting.cameras == ()


@pytest.mark.parametrize("max_gap", [0.1, 2.5])
def test_max_gap_is_in_seconds(max_gap: float) -> None:
    predictor = StreamingPredictor(ConstantFlow(), "cpu", "fp32", (32, 24), max_gap=max_gap)
    stamps = [0, int(max_gap * 1e9), int(2 * max_gap * 1e9) + 1]
    reasons = [predictor.step({"a": Frame(image(), stamp)})["a"].reset for stamp in stamps]  # type: ignore[union-attr]
    assert reasons == ["first frame", None, "gap"]


def test_the_period_survives_resets_and_starts_at_30_frames_a_second(counting: StreamingPredictor) -> None:
    first = counting.step({"a": Frame(image(), 7)})["a"]
    assert first and first.period == 33_333_333 and first.next_stamp == 33_333_340
    for stamp in (50, 100, 150):
        counting.step({"a": Frame(image(), stamp * MS)})
    counting.reset()
    motion = counting.step({"a": Frame(image(), 40_000 * MS)})["a"]
    assert motion and motion.period == 50 * MS and motion.next_stamp == 40_050 * MS


def test_gaps_and_jumps_do_not_count_as_periods(counting: StreamingPredictor) -> None:
    periods = []
    for stamp in (0, 20, 40, 5000, 5020, 3, 23):
        motion = counting.step({"a": Frame(image(), stamp * MS)})["a"]
        assert motion is not None
        periods.append(motion.period)
    assert periods[1:] == [20 * MS] * 6


def test_each_camera_has_its_own_period(counting: StreamingPredictor) -> None:
    for t in range(4):
        motions = counting.step({"fast": Frame(image(), 10 * MS * t), "slow": Frame(image(), 100 * MS * t)})
    assert motions["fast"] and motions["fast"].period == 10 * MS
    assert motions["slow"] and motions["slow"].period == 100 * MS


def test_the_network_sees_rgb_or_grey_between_0_and_1() -> None:
    blue = np.full((48, 64, 3), (255, 0, 0), np.uint8)
    for channels, expected in ((3, [0.0, 0.0, 1.0]), (1, [29 / 255])):
        stub = Stub(None, channels)
        motion = StreamingPredictor(stub, "cpu", "fp32", (32, 24)).step({"a": Frame(blue, 0)})["a"]
        assert stub.shown[0].shape == (1, channels, 24, 32) and stub.shown[0].dtype == torch.float32
        assert stub.shown[0][0, :, 5, 5].tolist() == pytest.approx(expected)
        assert motion is not None
        assert motion.decoded.shape == ((24, 32, 3) if channels == 3 else (24, 32))
        assert motion.decoded[5, 5].tolist() == ([255, 0, 0] if channels == 3 else 29), "BGR again"
    grey = Stub(None, 3)
    StreamingPredictor(grey, "cpu", "fp32", (32, 24)).step({"a": Frame(np.full((48, 64), 51, np.uint8), 0)})
    assert grey.shown[0][0, :, 5, 5].tolist() == pytest.approx([0.2] * 3)


def test_cameras_with_a_new_frame_make_one_batch() -> None:
    stub = Stub((0.0, 0.0))
    predictor = StreamingPredictor(stub, "cpu", "fp32", (32, 24))
    predictor.step({"a": Frame(image(), 0), "b": Frame(image(1, (60, 80)), 5), "c": Frame(image(), 9)})
    predictor.step({"a": Frame(image(), MS), "b": Frame(image(1, (60, 80)), 5)})
    assert [len(frames) for frames in stub.shown] == [3, 1]


def test_three_cameras_of_several_sizes_equal_three_predictors() -> None:
    network = moving_network()
    shapes = {"a": (48, 64, 3), "b": (60, 80), "c": (24, 32, 3)}
    together = StreamingPredictor(network, "cpu", "fp32", (32, 24))
    alone = {name: StreamingPredictor(network, "cpu", "fp32", (32, 24)) for name in shapes}
    for t in range(5):
        names = [name for name in shapes if not (name == "b" and t % 2)]
        frames = {name: Frame(image(10 * t, shapes[name]), 40 * MS * t) for name in names}
        motions = together.step(frames)
        for name in names:
            single, found = alone[name].step({name: frames[name]})[name], motions[name]
            assert single is not None and found is not None
            assert np.abs(found.flow).max() > 1e-3 or t == 0
            np.testing.assert_allclose(found.flow, single.flow, atol=1e-3)
            assert np.abs(found.prediction.astype(int) - single.prediction).max() <= 1
            assert np.abs(found.decoded.astype(int) - single.decoded).max() <= 1


def test_warm_up_leaves_no_trace(counting: StreamingPredictor) -> None:
    counting.warm_up()
    assert counting.cameras == ()
    motion = counting.step({"a": Frame(image(), 0)})["a"]
    assert motion and motion.reset == "first frame" and seen(motion) == 0 and counting.network_seconds > 0


def test_the_frames_of_the_caller_are_left_alone(counting: StreamingPredictor) -> None:
    picture = image()
    kept = picture.copy()
    picture.flags.writeable = False
    motion = counting.step({"a": Frame(picture, 0)})["a"]
    assert motion is not None
    _ = motion.prediction, motion.flow, motion.decoded
    np.testing.assert_array_equal(picture, kept)


def test_memory_does_not_grow_in_300_steps() -> None:
    predictor = StreamingPredictor(ConstantFlow(), "cpu", "fp32", (32, 24))
    pictures = [image(t) for t in range(4)]

    def run(start: int, end: int) -> None:
        for t in range(start, end):
            if t % 37 == 0:
                predictor.reset("b")
            frames = {name: Frame(pictures[t % 4], 40 * MS * t) for name in ("a", "b")}
            for motion in predictor.step(frames).values():
                assert motion is not None
                _ = motion.prediction, motion.flow, motion.surprise

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    run(0, 50)
    before = tensors()
    tracemalloc.start()
    try:
        run(50, 100)
        gc.collect()
        early = tracemalloc.get_traced_memory()[0]
        run(100, 350)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - early
    finally:
        tracemalloc.stop()
    assert tensors() == before
    assert grown < 50_000, "250 steps of 2 cameras, 9 kB an image, 25 kB a flow"
    assert predictor.cameras == ("a", "b")


def test_bf16_keeps_memory_and_flow_in_float32() -> None:
    network = moving_network()
    exact, coarse = (StreamingPredictor(network, "cpu", precision, (32, 24)) for precision in ("fp32", "bf16"))
    assert coarse.precision == "bf16"
    for t in range(3):
        frame = Frame(image(t), 40 * MS * t)
        first, second = exact.step({"a": frame})["a"], coarse.step({"a": frame})["a"]
    assert first is not None and second is not None
    assert {part.dtype for part in coarse._memories["a"].state} == {torch.float32}
    assert second.flow.dtype == np.float32 and not np.array_equal(first.flow, second.flow)
    assert np.abs(first.flow - second.flow).mean() < 0.1 * np.abs(first.flow).mean() + 0.02


def test_auto_takes_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for native, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("stvae_ros.runtime.device.has_bf16", lambda device, native=native: native)
        assert resolve_precision("auto", cpu) == precision
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == cpu


def test_a_gpu_is_there_only_with_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1") and resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"'cuda:2' is not there: 2 CUDA devices"):
        resolve_device("cuda:2")
    assert resolve_precision("fp16", torch.device("cuda:0")) == "fp16"
    for precision in ("fp32", "bf16"):
        assert resolve_precision(precision, torch.device("cpu")) == precision


def test_resizing_a_flow_array_scales_its_vectors() -> None:
    flow = np.broadcast_to(np.float32([2, -3]), (6, 8, 2)).copy()
    larger = resize_flow(flow, 16, 18)
    assert larger.shape == (18, 16, 2) and larger.dtype == np.float32
    np.testing.assert_allclose(larger, np.broadcast_to(np.float32([4, -9]), (18, 16, 2)), rtol=1e-6)
    assert resize_flow(flow, 8, 6) is flow


def test_moving_an_array_by_half_a_pixel() -> None:
    ramp = np.arange(10, dtype=np.float32)[None].repeat(4, axis=0)
    moved = move(ramp, np.broadcast_to(np.float32([0.5, 0]), (4, 10, 2)).copy())
    np.testing.assert_allclose(moved, np.minimum(ramp + 0.5, 9), atol=0.02)
