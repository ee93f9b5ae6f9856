"""One command trains, evaluates and compares the systems of the paper; and the gallery of what they learnt."""

import csv
import json
import shutil
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
from stvae_ros.nn.interface import FramePredictor, Prediction, State

if find_spec("lightning") is None or find_spec("matplotlib") is None:
    pytestmark = pytest.mark.skip(reason="needs Lightning and matplotlib: pip install '.[train,eval]'")
else:
    from stvae_ros.cli.main import main
    from stvae_ros.evaluation.paper.examples import Examples
    from stvae_ros.evaluation.paper.report import write_report
    from stvae_ros.evaluation.paper.rollouts import Rollout, rollout_errors, ssim
    from stvae_ros.evaluation.paper.rows import ROWS, Result

CONFIG = ROOT / "config" / "paper"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["stvae"])
    monkeypatch.setenv("COLUMNS", "200")


def reproduce(output: Path, *arguments: str) -> None:
    assert main(["reproduce", "--scale", "smoke", "--output", str(output), *arguments]) == 0


@pytest.mark.filterwarnings("ignore")
def test_tables_curves_gallery_and_rollouts_of_two_rows(
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
        assert f"{result['scores']['bce']:.5f} | {result['copy']['bce']:.5f}" in tables
        assert (row == "ae-conv") == (line["epe"] == "")
        with open(tmp_path / f"{row}.{recipe}" / "curve.csv", newline="") as file:
            curve = list(csv.DictReader(file))
        assert len(curve) >= 2 and float(curve[-1]["sequences"]) == result["sequences"]
        assert 0 < float(curve[0]["seconds"]) < float(curve[-1]["seconds"]) == pytest.approx(result["seconds"])
    assert (
        "0.0948 *" in tables and "| 0.1181 |" in tables and "`conv-1enc-2lstm` | | 0.09116 | not trained yet" in tables
    )
    plot = cv2.imread(str(tmp_path / "error-against-time.png"))
    assert plot is not None and plot.std() > 5

    monkeypatch.setattr("stvae_ros.cli.reproduce.train", lambda *_: pytest.fail("a row that is done is not done again"))
    reproduce(tmp_path, *rows)
    capsys.readouterr()
    reproduce(tmp_path, "--report")
    assert capsys.readouterr().out.strip() == tables.strip() == (tmp_path / "results.md").read_text().strip()
    assert main(["reproduce", "--scale", "cpu", *rows, "--output", str(tmp_path)]) == 2
    assert "at scale smoke on scikit-learn's digits, not cpu" in capsys.readouterr().err

    folders = [tmp_path / name for name in ("ae-conv.modern", "conv-2enc-1lstm.modern")]
    assert main(["rollout", *map(str, folders), "--sequences", "3"]) == 0
    assert "squared error" in capsys.readouterr().out
    reproduce(tmp_path, "--report")
    text = capsys.readouterr().out
    found = Rollout.load(folders[1] / "rollout.json")
    assert f"| {found.mse[0]:.1f} | {found.mse[9]:.1f} |" in text and "| TAU, 200 epochs" in text

    (folders[0] / "weights.safetensors").unlink()  # the predictions can be drawn without
    assert main(["gallery", *map(str, folders), "--output", str(tmp_path / "gallery")]) == 0
    for name in ("predictions.png", "filters.png"):
        picture = cv2.imread(str(tmp_path / "gallery" / name))
        assert picture is not None and picture.std() > 5
    assert (folders[0] / "examples.npz").stat().st_size < 60_000


@pytest.mark.filterwarnings("ignore")
def test_a_row_stopped_in_time_goes_on_to_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["--rows", "conv-2enc-1lstm-recurrent-flow", "--recipes", "modern"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    reproduce(whole, *rows)
    reproduce(parts, *rows, "--minutes", "0.0001")
    assert "the same command continues" in capsys.readouterr().out
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
        (["gallery", "absent"], "absent/examples.npz"),
        (["rollout", "absent"], "absent: not the folder of a row"),
        (["rollout", "ae-conv.modern", "--sequences", "0"], "--sequences 0"),
        (["reproduce", "--report"], "paper-cpu: no such folder"),
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


def test_the_page_shows_the_tables_of_the_results(tmp_path: Path) -> None:
    results = shutil.copytree(ROOT / "docs" / "results", tmp_path / "results")
    page = (ROOT / "docs" / "results.md").read_text()
    shown = page.split("<!-- results -->")[1].split("<!-- end of results -->")[0]
    assert write_report(results).strip() == shown.strip() == (ROOT / "docs/results/results.md").read_text().strip()
    rows = {path.parent.name.partition(".")[0] for path in results.glob("*/result.json")}
    assert rows and all(f"| `{row}` |" in shown for row in rows)
    for path in results.glob("*/result.json"):
        result = Result.load(path)
        assert result.error is not None and result.copy_error is not None and result.error < result.copy_error
        assert len(Examples.load(path.with_name("examples.npz")).truth) == 3


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


def test_errors_of_a_rollout_are_sums_over_pixels() -> None:
    class Still(FramePredictor):
        """Predicts the last frame."""

        in_channels = 1
        size_multiple = 1

        def initial_state(self, batch: int, height: int, width: int) -> State:
            return ()

        def step(self, frame: torch.Tensor, state: State) -> tuple[Prediction, State]:
            return Prediction(frame, None), ()

    frames = torch.zeros(20, 1, 64, 64)
    frames[10:, :, :2, :3] = 1.0
    data = [{"frames": frames, "flow": frames[1:], "flow_known": frames[1:, 0] > 2}] * 3
    *_, found = rollout_errors(Still(), data, False, "made here")
    assert found.sequences == 3 and found.mse == found.mae == [6.0] * 10
    assert found.ssim == [found.ssim[0]] * 10 and 0.9 < found.ssim[0] < 1


def test_structural_similarity_against_its_definition() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(2, 1, 1, 7, 7)
    mean_x, mean_y, covariance = x.mean(), y.mean(), torch.cov(torch.stack([x.flatten(), y.flatten()]))
    one, two = 0.02**2, 0.06**2
    expected = (2 * mean_x * mean_y + one) * (2 * covariance[0, 1] + two)
    expected /= (mean_x**2 + mean_y**2 + one) * (covariance[0, 0] + covariance[1, 1] + two)
    assert ssim(x, y).item() == pytest.approx(expected.item(), abs=1e-6)
    assert ssim(x, x).item() == pytest.approx(1)
