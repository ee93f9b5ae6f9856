"""SegNet, SegNet-flow, their data, and `StreamingSegmenter`."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stvae_ros import zoo
from stvae_ros.checkpoint import Checkpoint, CheckpointError, find, save
from stvae_ros.data.labelled import UNKNOWN, Labelled, MovingStills, RecordedSequences, read_labelled
from stvae_ros.data.media import MediaError
from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.nn.layers.warp import warp
from stvae_ros.nn.registry import create_segmenter, segmenter_names
from stvae_ros.nn.segmentation.interface import Segmenter
from stvae_ros.nn.segmentation.segnet import Pooling, unpool
from stvae_ros.nn.segmentation.segnet_flow import SegNetFlow
from stvae_ros.streaming import Frame
from stvae_ros.streaming.segmentation import StreamingSegmenter

PARAMETERS = {"segnet": 29_441_419, "segnet-basic": 1_421_707}


def basic(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return create_segmenter("segnet-basic", classes=4).eval()


class Shift(FramePredictor):
    """A frame predictor whose flow moves everything one pixel to the right per frame."""

    in_channels, size_multiple = 1, 16

    def initial_state(self, batch: int, height: int, width: int) -> State:
        return (torch.zeros(batch, 1),)

    def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
        flow = torch.tensor([-1.0, 0.0]).view(1, 2, 1, 1).expand(len(frame), 2, *frame.shape[-2:])
        return Prediction(frame, flow, observed_flow=flow), (state[0] + 1,)


@pytest.mark.parametrize("name", segmenter_names())
def test_scores_for_every_pixel_of_any_size(name: str) -> None:
    segmenter = create_segmenter(name).eval()
    if name in PARAMETERS:
        assert sum(p.numel() for p in segmenter.parameters()) == PARAMETERS[name]
    with torch.no_grad():
        found = segmenter(torch.rand(1, 2, 3, 37, 50))
    assert [f.scores.shape for f in found] == [(1, 11, 37, 50)] * 2
    assert (found[0].prediction is None) == (name != "segnet-flow")
    with pytest.raises(ValueError, match="at least"):
        segmenter.initial_state(1, 8, 50)


def test_vgg_16_is_the_encoder_of_segnet() -> None:
    convolutions = [m for m in create_segmenter("segnet").encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 13 and all(c.kernel_size == (3, 3) for c in convolutions)
    widths = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert [c.out_channels for c in convolutions] == widths


def test_unpooling_puts_maxima_back_in_place() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 7, 9)
    pooled, indices = F.max_pool2d(x, 2, return_indices=True)
    back = unpool(pooled, Pooling(indices, 7, 9))
    assert (back[back != 0].sort().values == pooled.flatten().sort().values).all()
    assert (back[back != 0] == x[back != 0]).all()


def test_past_scores_are_warped_and_merged() -> None:
    segmenter = SegNetFlow(basic(), Shift()).eval()
    first, second = torch.rand(2, 1, 3, 32, 48)
    state = segmenter.initial_state(1, 32, 48)
    with torch.no_grad():
        alone = [torch.log_softmax(segmenter.segnet.step(f, ())[0].scores, 1) for f in (first, second)]
        one, state = segmenter.step(first, state)
        two, _ = segmenter.step(second, state)
    torch.testing.assert_close(one.scores, alone[0], msg="without a last frame the scores are those of SegNet")
    flow = torch.tensor([-1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 32, 48)
    share = torch.sigmoid(torch.tensor(1.0))
    expected = torch.log_softmax(share * alone[1] + (1 - share) * warp(alone[0], flow), 1)
    torch.testing.assert_close(two.scores, expected)


def test_predicted_flow_replaces_missing_observed_flow() -> None:
    class OnlyPredicts(Shift):
        def step(self, frame: Tensor, state: State) -> tuple[Prediction, State]:
            prediction, state = super().step(frame, state)
            return prediction._replace(observed_flow=None), state

    frames = torch.rand(1, 3, 3, 32, 48)
    with torch.no_grad():
        observed, predicted = (SegNetFlow(basic(), flow()).eval()(frames) for flow in (Shift, OnlyPredicts))
    for one, other in zip(observed, predicted, strict=True):
        torch.testing.assert_close(one.scores, other.scores)


def test_checkpoints_of_segmenters_and_frame_predictors_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "basic.safetensors"
    segmenter = basic()
    save(path, segmenter, "segnet-basic", {"classes": 4}, {"processing_size": json.dumps([48, 32])})
    again = Checkpoint.open(path).segmenter()
    frame = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(again.step(frame, ())[0].scores, segmenter.step(frame, ())[0].scores)
    with pytest.raises(CheckpointError, match="give it as segmenter"):
        zoo.load(path)
    with pytest.raises(CheckpointError, match="give it as model"):
        Checkpoint.open(find("stvae-rt-s")).segmenter()
    with pytest.raises(ValueError, match="no segmenter is called 'segnot'"):
        create_segmenter("segnot")
    with pytest.raises(ValueError, match="cannot be built on 'segnot'"):
        create_segmenter("segnet-flow", base="segnot")


# Data


def still(height: int = 60, width: int = 80) -> Labelled:
    """Squares of classes 0 to 5 with grey value 40 times the class; class 5 counts as unlabelled."""
    rng = np.random.default_rng(0)
    labels = cv2.resize(rng.integers(0, 6, (6, 8)).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return Labelled(cv2.cvtColor((40 * labels).astype(np.uint8), cv2.COLOR_GRAY2BGR), labels.astype(np.uint8), "a_1")


def test_labels_move_with_the_image() -> None:
    items = MovingStills([still()], 8, 4, (24, 32), classes=5, max_speed=4.0, seed=0)
    moved = 0
    for index in range(len(items)):
        item = items[index]
        assert item["frames"].shape == (4, 3, 24, 32) and (item["labels"][:-1] == UNKNOWN).all()
        labels, grey = item["labels"][-1], item["frames"][-1].mean(0)
        known = labels != UNKNOWN
        assert known.any() and not known.all(), "class 5 is unlabelled"
        means = [grey[labels == k].median() for k in range(5) if (labels == k).sum() > 20]
        assert all(a < b for a, b in pairwise(means)), "brighter squares have higher classes"
        moved += int((item["frames"][0] - item["frames"][-1]).abs().mean() > 0.03)
        assert torch.equal(items[index]["frames"], item["frames"])
    assert moved >= 4


def test_sequences_do_not_cross_recordings() -> None:
    frames = [still()._replace(name=f"{name}_{k}") for name, count in (("a", 4), ("b_c", 3)) for k in range(count)]
    sequences = RecordedSequences(frames, 3, classes=5)
    assert sequences.starts == [0, 1, 4]
    item = sequences[2]
    assert item["frames"].shape == (3, 3, 60, 80)
    assert (item["labels"][:2] == UNKNOWN).all() and int(item["labels"][2].max()) == 4


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two folders of frames from two recordings, and the folders of their labels."""
    for folder in ("train", "val"):
        for suffix in ("", "annot"):
            (tmp_path / f"{folder}{suffix}").mkdir()
        for name in ("day_1", "day_2", "day_3", "night_1"):
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), still().image)
            cv2.imwrite(str(tmp_path / f"{folder}annot" / f"{name}.png"), still().labels)
    return tmp_path


def test_folders_are_read_in_order_and_errors_name_the_file(dataset: Path) -> None:
    images, labels = dataset / "train", dataset / "trainannot"
    frames = list(read_labelled(images, labels, (30, 40), exclude=["night"]))
    assert [frame.name for frame in frames] == ["day_1", "day_2", "day_3"]
    assert frames[0].image.shape == (30, 40, 3) and set(np.unique(frames[0].labels)) <= set(range(6))
    cv2.imwrite(str(labels / "day_2.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(MediaError, match=r"day_2\.png: 5x5, but its frame is 80x60"):
        list(read_labelled(images, labels))
    (labels / "day_2.png").unlink()
    with pytest.raises(MediaError, match=r"4 images and .* 3"):
        list(read_labelled(images, labels))


# StreamingSegmenter


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (40, 60, 3)).astype(np.uint8) for _ in range(count)]


@pytest.fixture
def streaming() -> Callable[..., StreamingSegmenter]:
    return lambda **options: StreamingSegmenter(basic(), "cpu", "fp32", (48, 32), **options)


def finish(segmenter: StreamingSegmenter) -> list[tuple[str, int]]:
    found = []
    while segmenter.busy:
        result = segmenter.work()
        if result is not None:
            found.append((result.camera, result.stamp))
    return found


def test_every_nth_frame_of_each_camera_in_turn(streaming: Callable[..., StreamingSegmenter]) -> None:
    segmenter = streaming(every=3)
    for t, image in enumerate(images(5)):
        segmenter.take({"front": Frame(image, t), "rear": Frame(image, t)})
    assert finish(segmenter) == [("front", 3), ("rear", 3)], (
        "frame 3 replaced frame 0, and both cameras have their turn"
    )
    assert segmenter.work() is None and not segmenter.busy


def test_staged_step_gives_the_labels_of_a_whole_step(streaming: Callable[..., StreamingSegmenter]) -> None:
    image = images(1)[0]
    staged = streaming()
    staged.take({"": Frame(image, 5)})
    steps = 1
    while (found := staged.work()) is None:
        steps += 1
    assert steps == 9 and found.stamp == 5, "four encoder stages, four decoder stages, and the classifier"
    np.testing.assert_array_equal(found.labels, streaming().label(Frame(image, 5)))
    assert found.labels.shape == (32, 48) and len(np.unique(found.labels)) > 1


def test_reset_drops_the_step_in_progress(streaming: Callable[..., StreamingSegmenter]) -> None:
    segmenter = streaming()
    segmenter.take({"front": Frame(images(1)[0], 1), "rear": Frame(images(1)[0], 1)})
    segmenter.work()
    segmenter.reset("front")
    assert finish(segmenter) == [("rear", 1)]
    segmenter.take({"front": Frame(images(1)[0], 2)})
    segmenter.clear()
    assert not segmenter.busy


def test_segnet_flow_has_one_state_per_camera() -> None:
    def make() -> StreamingSegmenter:
        return StreamingSegmenter(SegNetFlow(basic(), Shift()), "cpu", "fp32", (48, 32))

    one, other = images(2)
    both, alone = make(), make()
    for name, image in (("a", one), ("b", other)):
        both.label(Frame(image, 0), name)
    np.testing.assert_array_equal(both.label(Frame(other, 1), "b"), [alone.label(Frame(other, t)) for t in (0, 1)][1])
    both.reset("a")
    np.testing.assert_array_equal(both.label(Frame(one, 2), "a"), make().label(Frame(one, 0)))
