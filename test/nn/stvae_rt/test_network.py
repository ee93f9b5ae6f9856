"""stvae-rt: matching, the network, predicting further, its losses and its training scenes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros import zoo
from stvae_ros.data.scenes.photographs import PhotoScenes
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.cost import step_cost
from stvae_ros.nn.interface import FlowLevel, FramePredictor, Prediction
from stvae_ros.nn.layers.correlation import best_match, local_correlation
from stvae_ros.nn.layers.warp import warp
from stvae_ros.nn.rollout import predicted_frame, rollout
from stvae_ros.nn.stvae_rt.network import StvaeRtState
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.training.losses import LossWeights, pyramid_losses, sequence_losses

SIZES = ("stvae-rt-s", "stvae-rt-m", "stvae-rt-l")


def by_shifts(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """The definition: one shift after the other."""
    height, width = first.shape[-2:]
    padded = F.pad(second, (radius,) * 4)
    steps = range(2 * radius + 1)
    shifted = [padded[:, :, dy : dy + height, dx : dx + width] for dy in steps for dx in steps]
    return torch.stack([(first * other).sum(dim=1) for other in shifted], dim=1)


def scene(count: int, seed: int = 3, size: tuple[int, int] = (64, 48), speed: float = 4.0) -> Tensor:
    """(1, count, 3, H, W), RGB in [0, 1]."""
    frames = SyntheticScene(seed, *size, max_speed=speed, camera_motion=1.0)
    images = [frames.frame(t)[..., ::-1].copy() for t in range(count)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)[None].float() / 255


def awake(name: str = "stvae-rt-s", **options: bool) -> FramePredictor:
    """A network whose every output answers, as if it had been trained."""
    torch.manual_seed(0)
    network = zoo.create(name, **options).eval()
    for parameter in network.parameters():
        if parameter.ndim == 4 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.03)
    return network


@pytest.mark.parametrize(("height", "width", "radius"), [(10, 13, 2), (9, 40, 4), (16, 80, 2), (3, 29, 1), (7, 64, 3)])
def test_local_correlation_is_its_definition(height: int, width: int, radius: int) -> None:
    torch.manual_seed(0)
    first, second = (torch.randn(2, 5, height, width, dtype=torch.double, requires_grad=True) for _ in range(2))
    fast, plain = local_correlation(first, second, radius), by_shifts(first, second, radius)
    torch.testing.assert_close(fast, plain)
    upstream = torch.randn_like(plain)
    for mine, other in zip(
        torch.autograd.grad(fast, (first, second), upstream),
        torch.autograd.grad(plain, (first, second), upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


def test_best_match_finds_what_has_moved_by_a_fraction_of_a_pixel() -> None:
    torch.manual_seed(0)
    last = F.normalize(torch.randn(1, 32, 12, 16), dim=1)
    now = last.roll((2, -3), dims=(2, 3))
    step, certainty = best_match(local_correlation(now, last, 4), torch.tensor(40.0))
    torch.testing.assert_close(step[0, :, 2:, :13], torch.tensor([3.0, -2.0]).view(2, 1, 1).expand(2, 10, 13))
    assert certainty[..., 2:, :13].min() > 0.99
    plain = torch.ones(1, 81, 3, 3)
    step, certainty = best_match(plain, torch.tensor(40.0))
    assert step.abs().max() < 1e-5 and certainty.max() < 0.1, "a plain surface is like itself everywhere"
    between = torch.zeros(1, 9, 1, 1)
    between[0, 4] = between[0, 5] = 1.0
    step, certainty = best_match(between, torch.tensor(40.0))
    torch.testing.assert_close(step.flatten(), torch.tensor([0.5, 0.0]))
    assert certainty.item() == pytest.approx(1 / 1.25)


@pytest.mark.parametrize("name", SIZES)
def test_an_untrained_network_has_every_output_and_aligns_frames(name: str) -> None:
    network = zoo.create(name).eval()
    frames = scene(3)
    with torch.no_grad():
        predictions, state = network(frames)
    last = predictions[-1]
    assert torch.isfinite(last.frame).all() and last.frame.shape == frames[:, -1].shape
    torch.testing.assert_close(predictions[0].frame, frames[:, 0], rtol=0, atol=1e-5)
    assert last.flow is not None and last.observed_flow is not None and last.confidence is not None
    assert last.flow.shape == last.observed_flow.shape == (1, 2, 48, 64)
    assert last.confidence.shape == (1, 1, 24, 32)
    assert [level.observed.shape[3] for level in last.levels] == {
        "s": [4, 8, 16],
        "m": [8, 16, 32],
        "l": [4, 8, 16, 32],
    }[name[-1]]
    assert all(new.shape == old.shape for new, old in zip(state, network.initial_state(1, 48, 64), strict=True))


@pytest.mark.parametrize("name", SIZES)
def test_the_named_state_keeps_the_order_of_the_flat_state(name: str) -> None:
    network = zoo.create(name).eval()
    with torch.no_grad():
        state = network.step(scene(1)[:, 0], network.initial_state(1, 48, 64))[1]
    named = StvaeRtState.from_flat(state)
    assert all(one is other for one, other in zip(named.flat(), state, strict=True))
    assert named.frames_seen.item() == 1 and named.last_frame is state[1]
    assert named.correction.gram is state[8] and named.blend.moments is state[13]


def test_the_sizes_differ_in_size() -> None:
    flops = [step_cost(zoo.create(name), 320, 240).flops for name in SIZES]
    assert flops[0] < flops[1] / 2 and flops[1] < flops[2] / 1.5
    with pytest.raises(ValueError, match=r"40x48.*multiples of 16"):
        zoo.create("stvae-rt-s").initial_state(1, 48, 40)


def test_a_still_scene_stays_exactly_as_it_is() -> None:
    network, frames = awake(), scene(1).expand(-1, 6, -1, -1, -1)
    moving = scene(6)
    with torch.no_grad():
        still, answer = network(frames)[0], network(moving)[0]
    for prediction in still:
        torch.testing.assert_close(prediction.frame, frames[:, 0], rtol=0, atol=1e-5)
        assert prediction.flow is not None and prediction.flow.abs().max() == 0
    assert (answer[0].frame - moving[:, 0]).abs().max() < 1e-5, "of the first frame there is nothing to see yet"
    assert (answer[-1].frame - moving[:, -1]).abs().max() > 0.01, "this network does answer"


def test_confidence_is_a_share_and_less_where_the_last_prediction_failed() -> None:
    frames = scene(5).clone()
    frames[:, 4, :, :24] = 1 - frames[:, 4, :, :24]
    with torch.no_grad():
        confidence = awake()(frames)[0][-1].confidence
    assert confidence is not None and confidence.min() >= 0 and confidence.max() <= 1
    assert confidence[:, :, :8].mean() < 0.5 * confidence[:, :, -8:].mean(), "above nothing was as expected"


@pytest.mark.parametrize("name", SIZES)
def test_cameras_in_a_batch_do_not_mix(name: str) -> None:
    network = awake(name)
    both = torch.cat([scene(4, seed=1), scene(4, seed=2)])
    with torch.no_grad():
        together, alone = network(both)[0], network(both[1:])[0]
    torch.testing.assert_close(together[-1].frame[1:], alone[-1].frame, rtol=0, atol=1e-4)


def test_memory_reaches_further_back_than_two_frames() -> None:
    frames = scene(6)
    other = frames.clone()
    other[:, :3] = scene(3, seed=9)
    for memory in (True, False):
        network = awake(memory=memory)
        with torch.no_grad():
            change = (network(frames)[0][-1].frame - network(other)[0][-1].frame).abs().max()
        assert (change > 1e-3) == memory, f"memory={memory}: {change}"


@pytest.mark.parametrize("option", ["correlation", "refinement", "blend"])
def test_each_part_can_be_left_out_and_matters(option: str) -> None:
    frames = scene(4)
    whole, part = awake("stvae-rt-m"), awake("stvae-rt-m", **{option: False})
    with torch.no_grad():
        first, second = whole(frames)[0][-1], part(frames)[0][-1]
    assert (first.frame - second.frame).abs().max() > 1e-3
    assert second.flow is not None and torch.isfinite(second.frame).all()


def test_it_learns_to_see_motion() -> None:
    torch.manual_seed(0)
    network = zoo.create("stvae-rt-s")
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    texture = scene(1, size=(128, 96), speed=0.0)[0, 0]
    shifts = [(3, 0), (-3, 0), (0, 3), (0, -3)]
    crops = [[texture[:, 24 - y * t : 72 - y * t, 32 - x * t : 96 - x * t] for t in range(4)] for x, y in shifts]
    frames = torch.stack([torch.stack(crop) for crop in crops])
    truth = -torch.tensor(shifts, dtype=torch.float32).view(4, 1, 2, 1, 1).expand(4, 3, 2, 48, 64)
    known = torch.ones(4, 3, 48, 64, dtype=torch.bool)
    weights = LossWeights(frame=0, psnr=1, observed=10, predicted=10, pyramid_flow=0.1, smoothness=0.02, skip=1)
    for _ in range(60):
        predictions, _ = network(frames[:, :-1])
        terms = sequence_losses(predictions, frames, truth, known, weights)
        optimizer.zero_grad()
        torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        last = network(frames[:, :-1])[0][-1]
    assert last.flow is not None and last.observed_flow is not None
    for flow in (last.flow, last.observed_flow):
        assert torch.linalg.vector_norm(flow - truth[:, -1], dim=1).mean() < 1.0, "of 3 pixels"
    copied = F.mse_loss(frames[:, -2], frames[:, -1])
    assert F.mse_loss(last.frame, frames[:, -1]) < 0.5 * copied


class Sliding(FramePredictor):
    """Says that everything moves right by as many pixels as the frame is bright at its first pixel, times ten."""

    in_channels = 1
    size_multiple = 1

    def initial_state(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        return (torch.zeros(batch, 1),)

    def step(self, frame: Tensor, state: tuple[Tensor, ...]) -> tuple[Prediction, tuple[Tensor, ...]]:
        flow = torch.zeros(len(frame), 2, *frame.shape[2:])
        flow[:, 0] = -(state[0].view(-1, 1, 1) + 1)
        half = [size // 2 for size in frame.shape[2:]]
        prediction = Prediction(frame * 0.5, flow, confidence=torch.full((len(frame), 1, *half), 0.8))
        return prediction, (state[0] + 1,)


def test_flow_and_confidence_accumulate_over_the_horizon() -> None:
    network = Sliding()
    frame = torch.rand(1, 1, 8, 12)
    prediction, state = network.step(frame, network.initial_state(1, 8, 12))
    steps = rollout(network, frame, prediction, state, 3)
    assert len(steps) == 3 and steps[0] is prediction and state[0].item() == 1, "the memory goes on from one frame"
    for step, total, confidence in zip(steps, (1, 3, 6), (0.8, 0.64, 0.512), strict=True):
        assert step.flow is not None and step.confidence is not None
        torch.testing.assert_close(step.flow[0, 0], torch.full((8, 12), -float(total)))
        torch.testing.assert_close(step.confidence, torch.full((1, 1, 4, 6), confidence))


def test_what_a_network_is_shown_next() -> None:
    network, frame = Sliding(), torch.rand(1, 1, 8, 12)
    prediction = network.step(frame, network.initial_state(1, 8, 12))[0]
    assert prediction.flow is not None
    torch.testing.assert_close(predicted_frame(network, frame, prediction), warp(frame, prediction.flow))
    network.draws_detail = True
    torch.testing.assert_close(predicted_frame(network, frame, prediction), frame * 0.5)


def test_the_horizon_of_a_stream() -> None:
    network = awake()
    images = [SyntheticScene(3, 64, 48).frame(t) for t in range(4)]
    near, far = (StreamingPredictor(network, "cpu", "fp32", (64, 48), horizon=horizon) for horizon in (1, 3))
    for t, image in enumerate(images):
        one, three = (p.step({"": Frame(image, 40_000_000 * t)})[""] for p in (near, far))
    assert one is not None and three is not None and len(three.views) == 3
    assert one.next_stamp - one.stamp == 40_000_000 and three.next_stamp - three.stamp == 120_000_000
    np.testing.assert_array_equal(three.views[0].next_image, one.prediction)
    np.testing.assert_array_equal(three.next_flow, one.flow)
    (
        np.testing.assert_array_equal(three.surprise, one.surprise),
        "surprise is about the next frame, whatever the horizon",
    )
    assert np.abs(three.flow).mean() > np.abs(one.flow).mean()
    with pytest.raises(ValueError, match="horizon = 0"):
        StreamingPredictor(network, "cpu", "fp32", (64, 48), horizon=0)


@pytest.mark.parametrize("shape", [(48, 64, 3), (96, 128, 3), (96, 128), (50, 90, 3)])
def test_detail_of_the_image_survives_a_smaller_network(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(60, 190, shape, np.uint8)
    predictor = StreamingPredictor(awake(), "cpu", "fp32", (64, 48))
    for t in range(3):
        motion = predictor.step({"": Frame(np.roll(image, t, axis=1).copy(), t * 40_000_000)})[""]
    assert motion is not None and motion.prediction.shape == shape and motion.prediction.dtype == np.uint8
    assert motion.confidence is not None and motion.observed_flow is not None
    assert motion.confidence.shape == shape[:2] and motion.observed_flow.shape == (*shape[:2], 2)
    assert motion.prediction.std() > 0.5 * image.std(), "scaled up from 64x48, noise would be flat"
    if shape[:2] == (48, 64):
        np.testing.assert_array_equal(motion.prediction, motion.decoded)


def levels(observed: Tensor, predicted: Tensor) -> tuple[FlowLevel, ...]:
    shrink = lambda flow, factor: F.avg_pool2d(flow, factor)  # noqa: E731
    pairs = [(shrink(observed, k), shrink(predicted, k)) for k in (8, 4, 2)]
    return (FlowLevel(shrink(observed, 16), None), *(FlowLevel(a, b) for a, b in pairs))


def test_true_flow_has_the_least_pyramid_loss() -> None:
    texture = scene(1, size=(128, 96), speed=0.0)[0, 0]
    frames = torch.stack([texture[:, 24:72, 40 - 3 * t : 104 - 3 * t] for t in range(4)])[None]
    truth = torch.zeros(1, 3, 2, 48, 64)
    truth[:, :, 0] = -3.0
    known = torch.ones(1, 3, 48, 64, dtype=torch.bool)

    def loss(dx: float) -> dict[str, Tensor]:
        flow = torch.zeros(1, 2, 48, 64)
        flow[:, 0] = dx
        predictions = [Prediction(frames[:, t], flow, levels=levels(flow, flow)) for t in range(3)]
        return pyramid_losses(predictions, frames, truth, known, 1)

    right, wrong = loss(-3.0), loss(1.0)
    for name in ("observed", "predicted", "pyramid_flow"):
        assert right[name] < 0.5 * wrong[name], name
    # Four pixels wrong at four scales of the observed flow and three of the predicted one.
    assert right["pyramid_flow"] < 0.01 and wrong["pyramid_flow"].item() == pytest.approx(4 * (2.0 + 1.8), rel=0.02)
    assert right["smoothness"] == 0
    rough = torch.rand(1, 2, 48, 64)
    predictions = [Prediction(frames[:, t], rough, levels=levels(rough, rough)) for t in range(3)]
    assert pyramid_losses(predictions, frames, truth, known, 1)["smoothness"] > 0.01


def test_psnr_loss_is_the_logarithm_of_the_error() -> None:
    frames = torch.zeros(2, 3, 1, 8, 8)
    predictions = [Prediction(torch.full((2, 1, 8, 8), value), None) for value in (0.1, 0.2)]
    nothing = torch.zeros(2, 2, 2, 8, 8), torch.zeros(2, 2, 8, 8, dtype=torch.bool)
    terms = sequence_losses(predictions, frames, *nothing, LossWeights(frame=0, psnr=1))
    assert terms["psnr"].item() == pytest.approx(np.log(0.01 + 1e-4) + np.log(0.04 + 1e-4), abs=1e-4)
    with pytest.raises(ValueError, match="pyramid"):
        sequence_losses(predictions, frames, *nothing, LossWeights(frame=0, observed=1))


def photos() -> list[np.ndarray]:
    return [np.ascontiguousarray(SyntheticScene(seed, 480, 270).frame(0)[..., ::-1]) for seed in range(3)]


def test_flow_of_photo_scenes_is_exact() -> None:
    data = PhotoScenes(photos(), 40, length=3, size=(48, 64), max_speed=8.0, seed=0)
    moved = copied = 0.0
    visible, fast = [], []
    for index in range(40):
        item = data[index]
        assert item["frames"].shape == (4, 3, 48, 64) and item["flow"].shape == (3, 2, 48, 64)
        known = item["flow_known"]
        moved += float(((warp(item["frames"][:-1], item["flow"]) - item["frames"][1:]).abs().mean(dim=1) * known).sum())
        copied += float(((item["frames"][:-1] - item["frames"][1:]).abs().mean(dim=1) * known).sum())
        visible.append(float(known.float().mean()))
        fast.append(float(item["flow"].abs().mean()))
    assert moved < 0.3 * copied
    assert np.mean(visible) > 0.8 and min(visible) < 0.95, "some of it comes from outside or from behind"
    assert min(fast) < 0.1 and max(fast) > 3, "some stand still, some are fast"


def test_photo_scenes_are_pure() -> None:
    first, second, other = (PhotoScenes(photos(), 5, 2, (32, 32), 8.0, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[3][key], second[3][key]) for key in first[3])
    assert not torch.equal(first[3]["frames"], other[3]["frames"])
