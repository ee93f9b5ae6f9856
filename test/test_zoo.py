"""Checkpoints: what is written is read back, and errors name the file and the problem."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stvae_ros import zoo
from stvae_ros.checkpoint import FORMAT, Checkpoint, CheckpointError, find, save


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    options = {"encoder_gain": 2.0}
    save(path, zoo.create("ae-convlstm-flow", **options), "ae-convlstm-flow", options, {"recipe": "by hand"})
    return path


def test_round_trip(weights: Path) -> None:
    network = zoo.load(weights)
    assert not network.training
    stored = load_file(weights)
    assert stored.keys() == network.state_dict().keys()
    assert all(torch.equal(stored[key], value) for key, value in network.state_dict().items())
    metadata = Checkpoint.open(weights).metadata
    assert metadata["architecture"] == "ae-convlstm-flow" and metadata["recipe"] == "by hand"
    assert metadata["input"] == "grey, 1 channels, range [0, 1]"
    assert find(str(weights)) == weights
    assert len(Checkpoint.open(weights).hash) == 12


def test_a_failed_save_keeps_the_old_file(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights.read_bytes()

    def broken(*args: object) -> None:
        Path(str(args[1])).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("stvae_ros.checkpoint.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        save(weights, zoo.create("ae-convlstm-flow"), "ae-convlstm-flow")
    assert weights.read_bytes() == before
    assert [p.name for p in weights.parent.iterdir()] == [weights.name]


def test_missing_truncated_foreign_and_unfitting_files(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors"):
        find(str(tmp_path / "nothing.safetensors"))
    with pytest.raises(CheckpointError, match="no checkpoint for model 'nonsense'"):
        find("nonsense")
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(weights.read_bytes()[:1000])
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    unknown = tmp_path / "unknown.safetensors"
    save_file({"a": torch.zeros(1)}, unknown, {"format": FORMAT, "architecture": "other"})
    unfitting = tmp_path / "unfitting.safetensors"
    save_file({"a": torch.zeros(1)}, unfitting, {"format": FORMAT, "architecture": "ae-convlstm-flow"})
    for path, word in (
        (truncated, "truncated"),
        (foreign, "not a checkpoint"),
        (unknown, "'other'"),
        (unfitting, "fit"),
    ):
        with pytest.raises(CheckpointError, match=word) as error:
            zoo.load(path)
        assert str(path) in str(error.value)


def test_unknown_network() -> None:
    with pytest.raises(ValueError, match=r"'ae-nothing'.*ae-convlstm-flow"):
        zoo.create("ae-nothing")


def test_a_loaded_network_predicts_what_the_saved_one_did(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"encoder": [4], "memory": [6]}
    network = zoo.create("ae-convlstm-flow", **options).eval()
    torch.nn.init.normal_(network.flow.out.weight)  # type: ignore[union-attr]
    path = tmp_path / "new" / "folder" / "small.safetensors"
    save(path, network, "ae-convlstm-flow", options)
    loaded = zoo.load(str(path))
    frame = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        before, _ = network.step(frame, network.initial_state(1, 8, 8))
        after, state = loaded.step(frame, loaded.initial_state(1, 8, 8))
    assert before.flow is not None and after.flow is not None and before.flow.abs().max() > 0
    assert torch.equal(before.frame, after.frame) and torch.equal(before.flow, after.flow)
    assert state[0].shape == (1, 6, 4, 4), "the options came along"


def test_metadata_keeps_the_callers_entries_and_its_own_meaning(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    mine = {"recipe": "r.yaml", "figures": json.dumps({"val/psnr": 30.5}), "format": "other", "architecture": "other"}
    save(path, zoo.create("ae-convlstm-flow"), "ae-convlstm-flow", {"huber_weight": 0.5}, mine)
    assert Checkpoint.open(path).metadata == {
        "recipe": "r.yaml",
        "figures": '{"val/psnr": 30.5}',
        "format": FORMAT,
        "architecture": "ae-convlstm-flow",
        "options": '{"huber_weight": 0.5}',
        "input": "grey, 1 channels, range [0, 1]",
    }


def test_saving_again_replaces_the_file_and_leaves_no_other(weights: Path) -> None:
    before = Checkpoint.open(weights).hash
    torch.manual_seed(99)
    save(weights, zoo.create("ae-convlstm-flow"), "ae-convlstm-flow")
    assert Checkpoint.open(weights).hash != before
    assert list(weights.parent.iterdir()) == [weights]


def test_saving_under_an_unknown_name_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'ae-nothing'.*ae-convlstm-flow"):
        save(tmp_path / "w.safetensors", zoo.create("ae-convlstm-flow"), "ae-nothing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 7, 1000, -1], ids=["nothing", "7 bytes", "header", "all but one byte"])
def test_truncated_weights(weights: Path, kept: int) -> None:
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="truncated") as error:
        zoo.load(weights)
    assert str(weights) in str(error.value)


def test_tensors_of_wrong_shapes(weights: Path) -> None:
    tensors, metadata = load_file(weights), Checkpoint.open(weights).metadata
    tensors["memory.cells.0.gates.bias"] = torch.zeros(8)
    save_file(tensors, weights, metadata)
    with pytest.raises(CheckpointError, match=r"memory\.cells\.0\.gates\.bias") as error:
        zoo.load(weights)
    assert str(weights) in str(error.value)


def test_weights_of_other_options_do_not_fill_a_network(weights: Path) -> None:
    small = zoo.create("ae-convlstm-flow", memory=[8])
    with pytest.raises(CheckpointError, match="do not fit") as error:
        Checkpoint.open(weights).fill(small)
    assert str(weights) in str(error.value)


def test_a_network_starts_from_one_that_is_a_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    part, whole = zoo.create("stvae-rt-m"), zoo.create("stvae-rt-l")
    save(path, part, "stvae-rt-m")
    with pytest.raises(CheckpointError, match="do not fit"):
        Checkpoint.open(path).fill(whole)
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    Checkpoint.open(path).fill(whole, part=True)
    known = part.state_dict()
    for key, value in whole.state_dict().items():
        assert torch.equal(value, known.get(key, before[key])), key
    assert known.keys() < before.keys()
    with pytest.raises(CheckpointError, match="do not fit"):
        Checkpoint.open(path).fill(zoo.create("stvae-rt-s"), part=True)


@pytest.mark.parametrize("options", ['{"nonsense": 1}', "not json", "[1]"])
def test_weights_whose_options_cannot_be_used(weights: Path, options: str) -> None:
    save_file(load_file(weights), weights, {**Checkpoint.open(weights).metadata, "options": options})
    with pytest.raises(CheckpointError) as error:
        zoo.load(weights)
    assert str(weights) in str(error.value)


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.safetensors"):
        with pytest.raises(CheckpointError, match="no such checkpoint") as error:
            zoo.load(path)
        assert str(path) in str(error.value)


def test_names() -> None:
    assert zoo.names() == sorted(zoo.names()) and "ae-convlstm-flow" in zoo.names()
    for name in zoo.names():
        assert zoo.create(name).in_channels in (1, 3)


def test_a_checkpoint_is_read_once(weights: Path) -> None:
    reads: list[str] = []

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]) == str(weights):
            reads.append(str(arguments[0]))

    sys.addaudithook(count)
    checkpoint = Checkpoint.open(weights)
    assert len(reads) == 1, "the header"
    checkpoint.network()
    assert len(reads) == 2, "the tensors"
    assert checkpoint.description.endswith(checkpoint.hash) and checkpoint.processing_size == (320, 240)
    assert len(reads) == 2, "the hash is that of the bytes that were loaded"
