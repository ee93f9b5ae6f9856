"""Training sequences: pure functions of seed and index, and a validation part that is never trained on."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from stvae_ros.data.media import MediaError
from stvae_ros.data.sequences import ClipSequences, Item, MixedSequences, SyntheticSequences, load_clip
from stvae_ros.nn.layers.warp import warp

needs_lightning = pytest.mark.skipif(find_spec("lightning") is None, reason="needs Lightning: pip install '.[train]'")


def numbered_clip(count: int, height: int = 24, width: int = 32, channels: int = 1) -> np.ndarray:
    """A clip whose frame t has the grey level t everywhere."""
    values = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(values, (count, height, width, channels)).copy()


def textured_clip(count: int, height: int = 24, width: int = 32, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)


def same(first: Item, second: Item) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def synthetic(seed: int = 3, channels: int = 1, size: int = 32) -> SyntheticSequences:
    return SyntheticSequences(count=10, length=3, size=(size, size), channels=channels, max_speed=3.0, seed=seed)


def clips(seed: int = 3, augment: bool = True) -> ClipSequences:
    return ClipSequences([textured_clip(9), textured_clip(7)], 10, length=3, size=(16, 16), seed=seed, augment=augment)


@pytest.mark.parametrize("make", [synthetic, clips])
def test_an_item_is_a_pure_function_of_seed_and_index(make: type) -> None:
    data, again = make(seed=3), make(seed=3)
    last_first = [again[index] for index in (2, 1, 0)][::-1]
    assert all(same(data[index], last_first[index]) for index in range(3))
    assert not torch.equal(data[0]["frames"], data[1]["frames"])
    assert not torch.equal(data[0]["frames"], make(seed=4)[0]["frames"])
    assert len(data) == 10


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_types_and_ranges_of_synthetic_sequences(channels: int) -> None:
    item = synthetic(channels=channels)[0]
    assert item["frames"].shape == (4, channels, 32, 32) and item["frames"].dtype == torch.float32
    assert item["flow"].shape == (3, 2, 32, 32) and item["flow"].dtype == torch.float32
    assert item["flow_known"].shape == (3, 32, 32) and item["flow_known"].dtype == torch.bool
    assert item["frames"].min() >= 0 and item["frames"].max() <= 1
    assert item["frames"].std() > 0.05, "textured"


def test_grey_is_the_luminance_of_the_colour_of_the_same_sequence() -> None:
    grey, colour = synthetic(channels=1)[0]["frames"], synthetic(channels=3)[0]["frames"]
    luminance = (colour * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    torch.testing.assert_close(grey, luminance, rtol=0, atol=1.5 / 255)


def test_the_flow_of_an_item_warps_its_frames() -> None:
    """Warp and scene have the same convention of flow: x first, backward, pixels."""
    moved, copied, known = [], [], []
    for index in range(6):
        item = synthetic(size=64)[index]
        frames, mask = item["frames"], item["flow_known"][:, None]
        moved.append(((warp(frames[:-1], item["flow"]) - frames[1:]).abs() * mask).mean())
        copied.append(((frames[:-1] - frames[1:]).abs() * mask).mean())
        known.append(mask.float().mean())
    assert torch.stack(known).mean() > 0.8
    assert torch.stack(moved).mean() < 0.3 * torch.stack(copied).mean()


def test_clips_have_no_known_flow() -> None:
    item = clips()[0]
    assert item["frames"].shape == (4, 1, 16, 16) and item["flow"].shape == (3, 2, 16, 16)
    assert item["flow_known"].shape == (3, 16, 16) and item["flow_known"].dtype == torch.bool
    assert not item["flow_known"].any() and not item["flow"].any()


def test_clip_sequences_are_consecutive_frames_of_one_clip() -> None:
    data = ClipSequences(
        [numbered_clip(9), 100 + numbered_clip(7)], 200, length=3, size=(16, 16), seed=0, augment=False
    )
    starts = []
    for index in range(200):
        values = (data[index]["frames"].mean(dim=(1, 2, 3)) * 255).round().int().tolist()
        assert values == list(range(values[0], values[0] + 4))
        starts.append(values[0])
    assert {value for value in starts if value < 100} == set(range(6)), "every start of the first clip"
    assert {value - 100 for value in starts if value >= 100} == set(range(4)), "and of the second"


def test_augmentation_mirrors_reverses_and_stays_in_range() -> None:
    ramp = numbered_clip(8) * 20 + np.arange(32, dtype=np.uint8)[None, None, :, None] * 3
    data = ClipSequences([ramp], 60, length=2, size=(16, 16), seed=0, augment=True)
    forward, to_the_right, levels = set(), set(), set()
    for index in range(60):
        frames = data[index]["frames"]
        assert frames.min() >= 0 and frames.max() <= 1
        forward.add(bool(frames[0].mean() < frames[2].mean()))
        to_the_right.add(bool(frames[0, ..., 0].mean() < frames[0, ..., -1].mean()))
        levels.add(round(float(frames.mean()), 3))
    assert forward == to_the_right == {False, True}
    assert len(levels) > 20


def test_a_crop_of_the_whole_clip_is_the_clip() -> None:
    clip = textured_clip(3, 16, 24, 3)
    frames = ClipSequences([clip], 1, 2, (16, 24), seed=0, augment=False, max_stretch=2.0)[0]["frames"]
    torch.testing.assert_close(frames, torch.from_numpy(clip).permute(0, 3, 1, 2) / 255)


@pytest.mark.parametrize(("max_stretch", "least", "most"), [(1.0, 1.0, 1.0), (2.0, 0.5, 2.0)])
def test_crops_are_stretched_up_to_the_limit(max_stretch: float, least: float, most: float) -> None:
    across, down = np.meshgrid(np.arange(96), np.arange(96))
    clip = np.stack([across, down, 0 * down], axis=-1)[None].repeat(2, axis=0).astype(np.uint8)
    data = ClipSequences([clip], 200, 1, (24, 24), seed=0, augment=False, max_stretch=max_stretch)
    stretches = []
    for index in range(200):
        frame = data[index]["frames"][0]
        stretches.append(float((frame[0, 0, -1] - frame[0, 0, 0]) / (frame[1, -1, 0] - frame[1, 0, 0])))
    assert np.min(stretches) == pytest.approx(least, rel=0.1) and np.max(stretches) == pytest.approx(most, rel=0.1)


def test_too_short_and_too_small_clips_are_refused() -> None:
    ClipSequences([textured_clip(4)], 1, length=3, size=(24, 24), seed=0, augment=False)
    with pytest.raises(ValueError, match="4 frames is too short: sequences need 5"):
        ClipSequences([textured_clip(9), textured_clip(4)], 1, length=4, size=(16, 16), seed=0, augment=False)
    with pytest.raises(ValueError, match="32x24 is too small for crops of 25x25"):
        ClipSequences([textured_clip(9)], 1, length=3, size=(25, 25), seed=0, augment=False)


def test_strides_of_two_and_three_frames() -> None:
    data = ClipSequences([numbered_clip(40)], 200, length=3, size=(16, 16), seed=0, augment=False, max_stride=3)
    steps = []
    for index in range(200):
        values = data[index]["frames"].mean(dim=(1, 2, 3)) * 255
        steps.append(set(values.diff().round().int().tolist()))
    assert all(len(step) == 1 for step in steps)
    counts = [sum(step == {stride} for step in steps) for stride in (1, 2, 3)]
    assert sum(counts) == 200 and counts[0] > counts[1] > 25 and counts[2] > 25
    with pytest.raises(ValueError, match="9 frames is too short: sequences need 10"):
        ClipSequences([numbered_clip(9)], 1, length=3, size=(16, 16), seed=0, augment=False, max_stride=3)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_mixture_with_shares_of_0_and_1(share: float) -> None:
    first, second = synthetic(), clips()
    mixture: Dataset[Item] = MixedSequences([first, second], [share, 1 - share], 8, seed=0)
    chosen = first if share else second
    assert all(same(mixture[index], chosen[index]) for index in range(8))


def test_a_mixture_follows_its_shares_and_is_pure() -> None:
    first = ClipSequences([numbered_clip(4)], 400, 1, (16, 16), 0, augment=False)
    second = ClipSequences([100 + numbered_clip(4)], 400, 1, (16, 16), 0, augment=False)

    def from_first(seed: int) -> list[bool]:
        mixture = MixedSequences([first, second], [0.3, 0.7], 400, seed)
        return [bool(mixture[index]["frames"].max() < 0.2) for index in range(400)]

    picks = from_first(1)
    assert 0.22 < np.mean(picks) < 0.38
    assert picks == from_first(1) and picks != from_first(2)


def write_images(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index:03}.png"), image)
    return folder


def test_load_clip_converts_channels(tmp_path: Path) -> None:
    blue, grey = np.full((20, 30, 3), (255, 0, 0), np.uint8), np.full((20, 30), 9, np.uint8)
    folder = write_images(tmp_path / "clip", [blue, grey])
    colour = load_clip(folder, 320, 3)
    assert colour.shape == (2, 20, 30, 3) and colour[:, 0, 0].tolist() == [[0, 0, 255], [9, 9, 9]], "RGB"
    single = load_clip(folder, 320, 1)
    assert single.shape == (2, 20, 30, 1) and single[:, 0, 0, 0].tolist() == [29, 9]


def test_load_clip_scales_wide_frames_down_only(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "clip", [np.zeros((30, 60), np.uint8)] * 2)
    assert load_clip(folder, 40, 1).shape == (2, 20, 40, 1)
    assert load_clip(folder, 60, 1).shape == (2, 30, 60, 1)
    assert load_clip(folder, 100, 1).shape == (2, 30, 60, 1)


def test_a_clip_of_several_sizes_is_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "clip", [np.zeros((30, 60), np.uint8), np.zeros((32, 60), np.uint8)])
    with pytest.raises(MediaError, match="clip: frame 1 has another size"):
        load_clip(folder, 320, 1)


def brightness(item: Item) -> set[int]:
    return set((item["frames"] * 255).round().int().unique().tolist())


@needs_lightning
@pytest.mark.parametrize(("count", "held_out"), [(40, 4), (20, 4), (80, 8)])
def test_the_tail_of_a_clip_is_never_trained_on(tmp_path: Path, count: int, held_out: int) -> None:
    from stvae_ros.training.data import SequenceData

    images = [np.full((24, 32), t, np.uint8) for t in range(count)]
    write_images(tmp_path / "clip", images)
    data = SequenceData(["clip"], str(tmp_path), 0.0, size=16, length=3, batch_size=2, validation_count=12)
    data.setup("fit")
    assert data.train_set is not None and data.validation_set is not None
    data.train_set.sets[-1].augment = False  # type: ignore[attr-defined]
    trained = set().union(*(brightness(data.train_set[index]) for index in range(300)))
    recorded = [data.validation_set[index] for index in range(12, 24)]
    validated = set().union(*(brightness(item) for item in recorded))
    assert trained == set(range(count - held_out)), "all of the head"
    assert validated <= set(range(count - held_out, count)) and validated
    assert all(data.validation_set[index]["flow_known"].any() for index in range(12)), "synthetic ones first"


@needs_lightning
def test_data_without_clips_is_synthetic_and_validation_is_apart() -> None:
    from stvae_ros.training.data import SequenceData

    data = SequenceData(size=16, length=2, batch_size=3, steps_per_epoch=4, validation_count=5, synthetic_share=0.0)
    data.setup("fit")
    train, validation = data.train_set, data.validation_set
    assert train is not None and validation is not None
    assert len(train) == 12 and len(validation) == 5  # type: ignore[arg-type]
    assert all(item["flow_known"].any() for item in (train[0], validation[0]))
    assert not any(torch.equal(train[i]["frames"], validation[j]["frames"]) for i in range(5) for j in range(5))


@needs_lightning
def test_a_too_short_clip_is_named(tmp_path: Path) -> None:
    from stvae_ros.training.data import SequenceData

    write_images(tmp_path / "short_clip", [np.zeros((24, 32), np.uint8)] * 5)
    data = SequenceData(["short_clip"], str(tmp_path), size=16, length=4)
    with pytest.raises(ValueError, match="short_clip"):
        data.setup("fit")
