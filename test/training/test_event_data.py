"""Networks for event images: data, training, and metadata of the checkpoint."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from checkout import ROOT

from stvae_ros import zoo
from stvae_ros.checkpoint import Checkpoint, CheckpointError, find
from stvae_ros.data.media import MediaError
from stvae_ros.data.sequences import SyntheticSequences
from stvae_ros.events.images import EventImage
from stvae_ros.events.simulator import EventModel, EventSimulator
from stvae_ros.nn.layers.warp import warp

# Not importorskip: pytest's launch plugin imports every module and would skip the whole folder.
if find_spec("lightning") is None:
    pytestmark = pytest.mark.skip(reason="needs Lightning: pip install '.[train]'")
else:
    from stvae_ros.training.event_data import EventData, EventSequences, RecordedEvents

RECIPE = ROOT / "config" / "train" / "stvae-rt-s-events.yaml"


def test_event_images_move_with_the_flow_of_the_frames() -> None:
    frames = SyntheticSequences(4, 5, (64, 64), 3, 3.0, 0)
    sequences = EventSequences(frames, EventImage(limit=4), 7)
    better = []
    for index in range(4):
        item, again = sequences[index], sequences[index]
        assert all(torch.equal(item[key], again[key]) for key in item)
        images, flow, known = item["frames"], item["flow"], item["flow_known"]
        assert images.shape == (5, 1, 64, 64) and flow.shape == (4, 2, 64, 64) and known.shape == (4, 64, 64)
        assert torch.equal(flow, frames[index]["flow"][1:])
        assert images.min() >= 1 / 255 and (images == 128 / 255).float().mean() > 0.1
        moved = warp(images[:-1].contiguous(), flow)
        for still, warped, following, where in zip(images[:-1], moved, images[1:], known, strict=True):
            if (still != following).any():
                errors = [((image - following)[0][where] ** 2).mean().item() for image in (still, warped)]
                better.append(errors[1] < errors[0])
    assert np.mean(better) > 0.7, "events move like the objects that cause them"
    two = EventSequences(frames, EventImage("counts", 4), 7)[0]["frames"]
    assert two.shape == (5, 2, 64, 64) and two.min() == 0
    one = sequences[0]["frames"]
    assert torch.equal((two[:, :1] > two[:, 1:]), one > 128 / 255), "the same events in another representation"


def write_recording(path: Path, frames: int) -> None:
    simulator, lines = EventSimulator(EventModel()), ["64 48"]
    texture = np.random.default_rng(0).integers(0, 256, (48, 200), np.uint8) // 8 * 2 + 90
    for t in range(frames):
        step = simulator.step(np.ascontiguousarray(texture[:, 3 * t : 3 * t + 64]), t * 10_000_000)
        if step is not None:
            made = step.events()
            rows = np.stack([made.t // 1000, made.x, made.y, made.polarity], axis=1)
            lines += [" ".join(map(str, row)) for row in rows.tolist()]
    path.write_text("\n".join(lines) + "\n")


def test_recordings_are_split_by_time(tmp_path: Path) -> None:
    write_recording(tmp_path / "a.txt", 40)
    options = {"root": str(tmp_path), "size": 32, "length": 3, "validation_count": 2, "window": 10.0}
    data = EventData(recordings=["a.txt"], recorded_share=1.0, **options)
    data.setup("fit")
    assert data.train_set is not None and data.validation_set is not None
    assert len(data.validation_set) == 4, "two simulated, two recorded"
    train, held_out = data.train_set.sets[1], data.validation_set.datasets[1]
    assert isinstance(train, RecordedEvents) and isinstance(held_out, RecordedEvents)
    assert [len(part) for part in (*train.recordings, *held_out.recordings)] == [34, 4]
    item = data.train_set[0]
    assert item["frames"].shape == (4, 1, 32, 32) and not item["flow_known"].any()
    assert torch.equal(item["frames"], data.train_set[0]["frames"])
    with pytest.raises(MediaError, match="too few"):
        EventData(recordings=["a.txt"], recorded_share=1.0, **{**options, "window": 100.0}).setup("fit")
    with pytest.raises(ValueError, match="go together"):
        EventData(recordings=["a.txt"], **options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("representation", ["signed", "counts"])
def test_training_from_weights_for_frames(tmp_path: Path, representation: str) -> None:
    from stvae_ros.cli.train import train

    recipe = yaml.safe_load(RECIPE.read_text())
    channels = {"signed": 1, "counts": 2}[representation]
    recipe["model"]["options"]["in_channels"] = channels
    recipe["data"]["init_args"] |= {
        "clips": [], "photo_share": 0.0, "synthetic_share": 1.0, "size": 32, "length": 5, "batch_size": 2,
        "steps_per_epoch": 1, "validation_count": 2, "num_workers": 0, "representation": representation,
    }  # fmt: skip
    recipe["trainer"] |= {
        "max_steps": 1, "precision": "32-true", "default_root_dir": str(tmp_path), "log_every_n_steps": 1,
        "check_val_every_n_epoch": 1, "accelerator": "cpu",
    }  # fmt: skip
    recipe["ckpt_path"], recipe["model"]["burn_in"] = None, 1
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    train(["--config", str(path)])
    metadata = Checkpoint.open(tmp_path / "weights.safetensors").metadata
    seen = EventImage.of_weights(metadata)
    assert seen == EventImage(representation, 5, 33.3)
    assert f"{channels} channels" in metadata["input"] and json.loads(metadata["options"])["in_channels"] == channels
    network = zoo.load(tmp_path / "weights.safetensors")
    prediction, _ = network.step(torch.zeros(1, channels, 32, 32), network.initial_state(1, 32, 32))
    assert prediction.frame.shape == (1, channels, 32, 32) and prediction.flow is not None


def test_weights_for_another_input_fill_all_but_the_outer_layers() -> None:
    network, before = zoo.create("stvae-rt-s", in_channels=1), zoo.create("stvae-rt-s", in_channels=1).state_dict()
    start = {key: value.clone() for key, value in network.state_dict().items()}
    Checkpoint.open(find("stvae-rt-s")).fill(network, part=True)
    shipped = zoo.load(find("stvae-rt-s")).state_dict()
    for key, value in network.state_dict().items():
        same = shipped[key].shape == before[key].shape
        assert torch.equal(value, shipped[key] if same else start[key]), key
    assert sum(shipped[key].shape != before[key].shape for key in shipped) in range(2, 8), (
        "only the first and last layers"
    )
    with pytest.raises(CheckpointError):
        Checkpoint.open(find("stvae-rt-s")).fill(network)


@pytest.mark.parametrize("name", ["stvae-rt-m", "stvae-rt-l", "ae-convlstm-flow", "ae-conv"])
def test_every_family_of_networks_takes_event_images(name: str) -> None:
    network = zoo.create(name, in_channels=2).eval()
    frame = torch.rand(1, 2, 32, 32)
    with torch.no_grad():
        prediction, state = network.step(frame, network.initial_state(1, 32, 32))
        prediction, _ = network.step(frame, state)
    assert prediction.frame.shape == frame.shape


def test_event_image_refuses_invalid_options() -> None:
    for wrong in ({"representation": "dots"}, {"limit": 0}, {"window": 0.0}):
        with pytest.raises(ValueError):
            EventImage(**wrong)
    assert EventImage.of_weights({}) is None
