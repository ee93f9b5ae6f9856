"""Training of segmenters: recipes at toy size, loss, and commands that use the weights."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
import torch
import yaml
from checkout import ROOT
from safetensors.torch import load_file

from stvae_ros.checkpoint import Checkpoint, CheckpointError, find
from stvae_ros.cli.main import main
from stvae_ros.data.labelled import UNKNOWN
from stvae_ros.data.scenes.shapes import SyntheticScene

# Not importorskip: pytest's launch plugin imports every module and would skip the whole folder.
if find_spec("lightning") is None:
    pytestmark = pytest.mark.skip(reason="needs Lightning: pip install '.[train]'")
else:
    from stvae_ros.cli.train import train
    from stvae_ros.training.segmentation import SegmentationModule

CONFIGS = ROOT / "config" / "train"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    scene = SyntheticScene(5, 64, 48, objects=2)
    for folder in ("train", "val"):
        for suffix in ("", "annot"):
            (tmp_path / f"{folder}{suffix}").mkdir()
        for t in range(4):
            cv2.imwrite(str(tmp_path / folder / f"a_{t}.png"), scene.frame(t))
            cv2.imwrite(str(tmp_path / f"{folder}annot" / f"a_{t}.png"), scene.truth(t).labels)
    return tmp_path


def recipe(name: str, folder: Path, dataset: Path, *changes: str) -> list[str]:
    """Options for two steps of a shipped recipe with SegNet-Basic, with all files in ``folder``."""
    content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    content["data"]["init_args"] |= {
        "root": str(dataset),
        "train": ["train"],
        "exclude": ["b_"],
        "size": [32, 48],
        "length": min(content["data"]["init_args"]["length"], 3),
        "batch_size": 2,
        "steps_per_epoch": 2,
        "num_workers": 0,
    }
    trainer = content["trainer"]
    trainer |= {"default_root_dir": str(folder), "max_steps": 2, "check_val_every_n_epoch": 1, "precision": "32-true"}
    trainer["enable_progress_bar"] = False
    trainer["callbacks"] = [trainer["callbacks"][0], trainer["callbacks"][-1]]
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(content))
    return ["--config", str(path), *changes]


@pytest.mark.filterwarnings("ignore")
def test_recipes_train_weights_that_the_commands_use(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, flow, alone = (tmp_path / name for name in ("first", "flow", "alone"))
    train(recipe("segnet-camvid", first, dataset, "--model.segmenter", "segnet-basic"))
    start = str(first / "weights.safetensors")
    metadata = Checkpoint.open(start).metadata
    assert metadata["architecture"] == "segnet-basic" and metadata["recipe"] == "config/train/segnet-camvid.yaml"
    assert "val/miou" in metadata["figures"] and metadata["processing_size"] == "[48, 32]"

    options = ["--model.options", "{base: segnet-basic, flow: ae-convlstm-flow}"]
    weights = ["--model.weights", f"[{start}, ae-convlstm-flow]"]
    train(recipe("segnet-flow-camvid", flow, dataset, *options, *weights))
    before, after = load_file(find("ae-convlstm-flow")), load_file(flow / "weights.safetensors")
    change = (after["flow.decoder.1.weight"] - before["decoder.1.weight"]).abs().max()
    assert 0 < change < 1e-3, "training starts from the weights of the frame predictor and changes them"

    # The baseline is the same recipe with another model.
    overlay = yaml.safe_load((CONFIGS / "segnet-alone.yaml").read_text())
    overlay["model"]["init_args"] = {"segmenter": "segnet-basic", "weights": [start]}
    overlay["trainer"]["default_root_dir"] = str(alone)
    changed = tmp_path / "overlay.yaml"
    changed.write_text(yaml.safe_dump(overlay))
    train(recipe("segnet-flow-camvid", alone, dataset, "--config", str(changed)))
    assert Checkpoint.open(alone / "weights.safetensors").metadata["architecture"] == "segnet-basic"

    folders = [str(dataset / "val"), str(dataset / "valannot")]
    both = [str(folder / "weights.safetensors") for folder in (alone, flow)]
    monkeypatch.setenv("COLUMNS", "400")
    out = tmp_path / "out"
    assert main(["evaluate", "labels", *folders, "--segmenter", *both, "--output", str(out)]) == 0
    assert "IoU of class 10" in capsys.readouterr().out
    with (out / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["labels"] for row in rows] == both and all(0 <= float(row["mIoU (%)"]) <= 100 for row in rows)


def test_loss_is_cross_entropy_of_labelled_frames_plus_frame_error(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"base": "segnet-basic", "flow": "ae-convlstm-flow", "classes": 3}
    module = SegmentationModule("segnet-flow", options, class_weights=[1.0, 2.0, 0.5], reconstruction=3.0).eval()
    logged: dict[str, float] = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: float(value)}))
    frames, labels = torch.rand(2, 3, 3, 32, 48), torch.full((2, 3, 32, 48), UNKNOWN)
    labels[:, 2, :4] = 1
    labels[0, 2, 0, 0] = 2
    with torch.no_grad():
        total = module.training_step({"frames": frames, "labels": labels}, 0)
        found = module.network(frames)
        scores = torch.log_softmax(found[2].scores, 1)
        # Sum over the labelled pixels, each with the weight of its class.
        entropy = -(2.0 * (scores[:, 1, :4].sum() - scores[0, 1, 0, 0]) + 0.5 * scores[0, 2, 0, 0])
        expected = entropy / (2.0 * (2 * 4 * 48 - 1) + 0.5)
        grey = (frames * torch.tensor([0.299, 0.587, 0.114]).view(1, 1, 3, 1, 1)).sum(2, keepdim=True)
        drawn = torch.stack([f.prediction.frame for f in found[:2]], 1)
        error = ((drawn - grey[:, 1:]) ** 2).mean()
    assert logged["train/cross_entropy"] == pytest.approx(float(expected), rel=1e-4)
    assert float(total) == pytest.approx(float(expected + 3 * error), rel=1e-4)


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 values, but there are 11 classes"):
        SegmentationModule("segnet-basic", class_weights=[1.0, 1.0])
    with pytest.raises(CheckpointError, match="no part of 'segnet-basic'"):
        SegmentationModule("segnet-basic", weights=["stvae-rt-s"])
