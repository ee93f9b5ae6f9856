"""One command trains, evaluates and compares the systems of the paper; and the gallery of what they learnt."""

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
import torch
import yaml
from checkout import ROOT
from safetensors.torch import load_file

from stvae_ros import zoo
from stvae_ros.checkpoint import Checkpoint

if find_spec("lightning") is None or find_spec("matplotlib") is None:
    pytestmark = pytest.mark.skip(reason="needs Lightning and matplotlib: pip install '.[train,eval]'")
else:
    from stvae_ros.cli.main import main
    from stvae_ros.evaluation.paper.rows import ROWS

CONFIG = ROOT / "config" / "paper"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["stvae"])
    monkeypatch.setenv("COLUMNS", "200")


def reproduce(output: Path, *arguments: str) -> None:
    assert main(["reproduce", "--scale", "smoke", "--output", str(output), *arguments]) == 0


@pytest.mark.filterwarnings("ignore")
def test_tables_curves_and_gallery_of_two_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["--rows", "ae-conv", "conv-2enc-1lstm"]
    reproduce(tmp_path, *rows, "--recipes", "paper", "modern")
    assert "made of scikit-learn's digits" in capsys.readouterr().out
    tables = (tmp_path / "results.md").read_text()
    with open(tmp_path / "results.csv", newline="") as file:
        lines = {(line["row"], line["recipe"]): line for line in csv.DictReader(file)}
    assert len(lines) == 4
    for (row, recipe), line in lines.items():
        result = json.loads((tmp_path / f"{row}.{recipe}" / "result.json").read_text())
        assert float(line["bce"]) == result["scores"]["bce"] and result["scores"]["sequences"] == 16
        assert f"{result['scores']['bce']:.5f}" in tables and (row == "ae-conv") == (line["epe"] == "")
        with open(tmp_path / f"{row}.{recipe}" / "curve.csv", newline="") as file:
            curve = list(csv.DictReader(file))
        assert len(curve) >= 2 and float(curve[-1]["sequences"]) == result["sequences"]
        assert 0 < float(curve[0]["seconds"]) < float(curve[-1]["seconds"]) == pytest.approx(result["seconds"])
    assert "| copy last |" in tables and "0.0948 *" in tables and "| 0.1181 |" in tables
    plot = cv2.imread(str(tmp_path / "error-against-time.png"))
    assert plot is not None and plot.std() > 5

    monkeypatch.setattr("stvae_ros.cli.reproduce.train", lambda *_: pytest.fail("a row that is done is not done again"))
    reproduce(tmp_path, *rows)
    assert (tmp_path / "results.md").read_text() == tables

    assert main(["reproduce", "--scale", "cpu", *rows, "--output", str(tmp_path)]) == 2
    assert "at scale smoke on scikit-learn's digits, not cpu" in capsys.readouterr().err

    folders = [str(tmp_path / name) for name in ("ae-conv.modern", "conv-2enc-1lstm.modern")]
    assert main(["gallery", *folders, "--sequences", "1", "4", "--output", str(tmp_path / "gallery")]) == 0
    for name in ("predictions.png", "filters.png"):
        picture = cv2.imread(str(tmp_path / "gallery" / name))
        assert picture is not None and picture.std() > 5


@pytest.mark.filterwarnings("ignore")
def test_a_row_stopped_in_time_goes_on_to_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["--rows", "conv-2enc-1lstm-recurrent-flow", "--recipes", "modern"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    reproduce(whole, *rows)
    reproduce(parts, *rows, "--minutes", "0.0001")
    assert "the same command goes on" in capsys.readouterr().out
    folder = parts / "conv-2enc-1lstm-recurrent-flow.modern"
    assert not (folder / "result.json").exists() and (folder / "checkpoints" / "last.ckpt").exists()
    assert Checkpoint.open(folder / "weights.safetensors").metadata["steps"] == "1"
    reproduce(parts, *rows)
    assert (folder / "result.json").exists()
    expected = load_file(whole / folder.name / "weights.safetensors")
    for name, value in load_file(folder / "weights.safetensors").items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["reproduce", "--rows", "ae-nothing"], "ae-nothing"),
        (["reproduce", "--minutes", "0"], "--minutes 0"),
        (["reproduce", "--mnist", "nowhere"], "nowhere: no MNIST there"),
        (["gallery", "absent.safetensors"], "absent.safetensors"),
        (["gallery", "absent.safetensors", "--sequences", "-1"], "--sequences -1"),
        (["warping", "nowhere"], "nowhere: no .flo files"),
    ],
)
def test_bad_input_is_one_line_that_names_it(
    tmp_path: Path,
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"stvae {arguments[0]}: ") and named in last
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_a_damaged_result_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "ae-conv.modern" / "result.json"
    damaged.parent.mkdir()
    damaged.write_text('{"row": "ae-conv"}')
    assert main(["reproduce", "--scale", "smoke", "--rows", "ae-conv", "--output", str(tmp_path)]) == 2
    assert f"{damaged}: not a result" in capsys.readouterr().err


def test_every_row_has_a_recipe_that_names_its_network() -> None:
    scales = yaml.safe_load((CONFIG / "scales.yaml").read_text())
    for row in ROWS.values():
        recipe = yaml.safe_load((CONFIG / f"{row.config}.yaml").read_text())
        network = zoo.create(recipe["model"]["network"], **recipe["model"]["options"])
        assert row.config.startswith(recipe["model"]["network"])
        assert row.binary == bool(recipe["model"]["options"].get("sigmoid"))
        assert row.binary == (recipe["model"]["loss"].get("cross_entropy", 0) > 0)
        assert row.has_flow == (network(torch.zeros(1, 1, 1, 64, 64))[0][0].flow is not None)
    for scale in scales.values():
        for recipe in ("paper", "modern"):
            assert scale[recipe].keys() - ROWS.keys() == {"rest"}
