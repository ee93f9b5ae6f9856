"""Training on the camera topics of rosbags."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT

from stvae_ros import zoo
from stvae_ros.checkpoint import Checkpoint, find

# Not importorskip: pytest's launch plugin imports every module and would skip the whole folder.
if any(find_spec(name) is None for name in ("rosbags", "mcap", "zstandard", "lightning")):
    pytestmark = pytest.mark.skip(reason="needs rosbags and Lightning: pip install '.[bags,train]'")
else:
    from bags import MS, PERIOD, START, scene_images, write_bag

    from stvae_ros.cli.train import train
    from stvae_ros.data.bags.bag import BagError
    from stvae_ros.data.bags.clips import load_bag_clip
    from stvae_ros.data.bags.writer import BagWriter
    from stvae_ros.training.bag_data import BagData

CONFIG = ROOT / "config" / "train" / "bags.yaml"
CAMERA = "/camera/image_raw"


def numbered(path: Path, count: int, missing: tuple[int, ...] = ()) -> Path:
    """A bag in which frame n has the grey value n."""
    with BagWriter(path) as bag:
        for number in range(count):
            if number not in missing:
                bag.write(CAMERA, np.full((16, 24), number, np.uint8), "mono8", START + number * PERIOD, "lens")
    return path


def values(clips: list[np.ndarray]) -> list[list[int]]:
    return [clip[:, 0, 0, 0].tolist() for clip in clips]


def data(path: Path, cache: Path, **options: object) -> BagData:
    given = {"size": 16, "length": 3, "synthetic_share": 0.0, "batch_size": 2, "steps_per_epoch": 3, **options}
    return BagData([str(path)], cache=str(cache), **given)


def test_repeated_stamps_are_named(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for number in range(8):
            bag.write(CAMERA, np.full((16, 24), number, np.uint8), "mono8", START + number // 2 * PERIOD, "lens")
    clip = load_bag_clip(tmp_path / "bag", CAMERA, (16, 16), 480, 3, tmp_path / "cache")
    (problem,) = clip.problems
    assert f"topic {CAMERA}: 4 of 8 frames have no later stamp than the frame before" in problem


def test_validation_follows_training_in_time_after_a_gap(tmp_path: Path) -> None:
    path = numbered(tmp_path / "bag", 101, missing=(20, 21))
    module = data(path, tmp_path / "cache", until=0.6, validation_share=0.2, gap=0.5, validation_count=4)
    module.prepare_data()
    heads, tails = module._split_clips()
    assert values(heads) == [[*range(20)], [*range(22, 39)]], (
        "frame 48 minus the gap of 10, and no sequence across the missing frames"
    )
    assert values(tails) == [[*range(48, 61)]]
    module.setup("fit")
    assert module.train_set is not None and module.validation_set is not None
    item = module.train_set[0]
    assert item["frames"].shape == (4, 1, 16, 16)
    frames = [module.validation_set[index]["frames"][:, 0, 0, 0] for index in range(4, 8)]
    shown = {round(255 * float(value)) for values in frames for value in values}
    assert shown and min(shown) >= 48 and max(shown) <= 60
    with pytest.raises(BagError, match="too few frames"):
        data(path, tmp_path / "cache", gap=30.0)._split_clips()
    with pytest.raises(BagError, match=r"no camera.*/camera/image_raw"):
        data(path, tmp_path / "cache", topics=["/rear"]).prepare_data()


def test_frames_are_decoded_once(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = write_bag(tmp_path / "bag", scene_images(4))
    first = load_bag_clip(path, CAMERA, (16, 16), 48, 3, cache)
    assert first.frames.shape == (4, 32, 48, 3)
    (folder,) = cache.iterdir()
    before = (folder / "frames.u8").stat().st_mtime_ns
    shutil.move(path, tmp_path / "elsewhere")
    again = load_bag_clip(tmp_path / "elsewhere", CAMERA, (16, 16), 48, 3, cache)
    assert list(cache.iterdir()) == [folder] and (folder / "frames.u8").stat().st_mtime_ns == before
    np.testing.assert_array_equal(first.frames, again.frames)
    assert load_bag_clip(tmp_path / "elsewhere", CAMERA, (128, 100), 48, 1, cache).frames.shape == (4, 128, 192, 1)
    file = tmp_path / "elsewhere" / "bag.mcap"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + MS))
    load_bag_clip(tmp_path / "elsewhere", CAMERA, (16, 16), 48, 3, cache)
    assert len(list(cache.iterdir())) == 3, "a changed bag is decoded again"


def test_images_of_12_bits(tmp_path: Path) -> None:
    """They are nearly black unless the number of bits is given. The bag's problems say so."""
    path = tmp_path / "bag"
    dim = np.full((16, 20), 2000, np.uint16)
    with BagWriter(path) as bag:
        for t in range(1, 33):
            bag.write(CAMERA, dim + t, "mono16", START + t * PERIOD, "lens")
    dark = load_bag_clip(path, CAMERA, (16, 16), 20, 1, tmp_path / "cache")
    bright = load_bag_clip(path, CAMERA, (16, 16), 20, 1, tmp_path / "cache", significant_bits=12)
    assert dark.frames.max() < 10 and bright.frames.min() > 120
    (problem,) = dark.problems
    assert f"topic {CAMERA}: the 16-bit images have used the lower 11 bits alone" in problem
    assert not bright.problems


@pytest.mark.filterwarnings("ignore")
def test_the_recipe_fine_tunes_the_shipped_weights(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", scene_images(60))
    with (tmp_path / "bag" / "bag.mcap").open("r+b") as file:
        file.truncate(int(0.95 * (tmp_path / "bag" / "bag.mcap").stat().st_size))
    small = {"size": "[32,48]", "length": 3, "max_stride": 1, "gap": 0.1, "batch_size": 1, "steps_per_epoch": 1}
    arguments = [f"--data.{key}={value}" for key, value in {**small, "validation_count": 1, "num_workers": 0}.items()]
    arguments += [f"--data.bags=[{path}]", f"--data.cache={tmp_path / 'cache'}", "--model.burn_in=0"]
    arguments += ["--trainer.max_steps=1", "--trainer.precision=32", f"--trainer.default_root_dir={tmp_path / 'run'}"]
    arguments += ["--trainer.check_val_every_n_epoch=1"]
    with pytest.warns(UserWarning, match=r"bag\.mcap.*/camera/image_raw.*cut off"):
        trainer = train(["--config", str(CONFIG), *arguments])
    assert trainer.global_step == 1
    weights = tmp_path / "run" / "weights.safetensors"
    assert Checkpoint.open(weights).processing_size == (48, 32), "the size of the crops"
    tuned, shipped = zoo.load(weights).state_dict(), zoo.load(find("stvae-rt-m")).state_dict()
    change = max(float((tuned[name] - shipped[name]).abs().max()) for name in tuned)
    assert 0 < change < 1e-3, "one small step away from the shipped weights"
