"""The command line: listings, evaluation, and what it says of bad input."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import ROOT

from stvae_ros import zoo
from stvae_ros.checkpoint import save, shipped_names
from stvae_ros.cli.main import _COMMANDS, main
from stvae_ros.data.scenes.names import open_scene
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nn.registry import segmenter_names


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "fresh.safetensors"
    save(path, zoo.create("ae-convlstm-flow"), "ae-convlstm-flow")
    return path


MODELS_TABLES = ("networks for real time", "segmenters", "networks of the paper")


def test_models(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert "1,035,067" in text and "sha256" in text and "\u2026" not in text, "nothing is cut on a narrow terminal"
    for name in (*zoo.names(), *segmenter_names(), *shipped_names()):
        assert f" {name} " in text
    shipped, ours, segmenters, paper = (text.index(title) for title in ("shipped checkpoints", *MODELS_TABLES))
    assert shipped < ours < segmenters < paper
    assert text.rindex(" stvae-rt-m ") < segmenters and text.rindex(" ae-conv ") > paper


def test_damaged_shipped_weights_are_not_called_absent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("stvae_ros.checkpoint.share_directory", lambda: tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "ae-conv.safetensors").write_bytes(b"cut")
    assert main(["models", "--size", "64", "64"]) == 0
    text = capsys.readouterr().out
    assert "ae-conv.safetensors: not a readable safetensors file" in text


def test_evaluate(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    folder = tmp_path / "still"
    folder.mkdir()
    for index in range(6):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((48, 64, 3), 90, np.uint8))
    arguments = ["--model", str(weights), "--processing-size", "32", "24", "--frames", "6"]
    assert main(["evaluate", str(folder), "synthetic:3", "--size", "64", "48", *arguments]) == 0
    text = capsys.readouterr().out
    assert "3 predictions" in text and "copy last" in text and "DIS medium" in text and "60.00" in text
    assert "mean of 2 sources" in text and "flow error, predicted (px)" in text and "frames ahead" not in text


def test_evaluate_a_rollout_and_a_still_image(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), SyntheticScene(1, 64, 48).frame(0))
    arguments = ["--model", str(weights), *SMALL, "--frames", "9", "--rollout", "3"]
    assert main(["evaluate", f"still:{image}", *arguments]) == 0
    table = capsys.readouterr().out.split("1 to 3 frames ahead")[1]
    copied = next(line for line in table.splitlines() if "copy last" in line)
    assert copied.count("60.00") == 3


def test_evaluate_flow_pairs(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    scene = SyntheticScene(1, 64, 48)
    for index in (0, 1):
        cv2.imwrite(str(tmp_path / f"pair-img{index}.png"), scene.frame(index))
    cv2.writeOpticalFlow(str(tmp_path / "pair-gt.flo"), scene.truth(0).forward_flow)
    assert main(["evaluate", "--flow-pairs", str(tmp_path), "--model", "stvae-rt-m", str(weights)]) == 0
    rows = [line.strip("│ ").split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    mean = [cell.strip() for cell in rows[-1]]
    assert mean[0] == "mean" and mean[3] == "-", "the paper's network measures no flow"
    assert float(mean[2]) < float(mean[1]), "ours is better than no flow"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["evaluate", "absent.mp4"], "absent.mp4"),
        (["evaluate", "synthetic:x"], "'x'"),
        (["evaluate", "synthetic:1", "--model", "nonsense"], "nonsense"),
        (["evaluate", "synthetic:1", "--device", "cuda:77"], "cuda:77"),
        (["evaluate", "synthetic:-1"], "seed -1"),
        (["evaluate", "scene3d:moon"], "'moon' in scene3d:moon"),
        (["scene", "synthetic:1"], "give a 3-D scene"),
        (["scene", "--rate", "0"], "--rate 0"),
        (["scene", "--output", "scene.txt"], "end it in .png"),
        (["evaluate"], "nothing to evaluate"),
        (["evaluate", "synthetic:1", "--rollout", "0"], "--rollout 0"),
        (["evaluate", "synthetic:1", "--rollout", "9", "--frames", "11"], "--frames 11"),
        (["evaluate", "--flow-pairs", "absent"], "absent"),
        (["ablation", "synthetic:1", "--root", ".", "--steps", "0"], "--steps"),
        (["ablation", "synthetic:1", "--root", ".", "--model", "nonsense"], "nonsense"),
        (["models", "--size", "31", "20"], "31x20"),
        (["benchmark", "--repeats", "0"], "--repeats 0"),
        (["demo", "--frames", "0"], "--frames 0"),
    ],
)
def test_bad_input_is_one_line_that_names_it(
    arguments: list[str],
    named: str,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if arguments[0] == "evaluate" and "--model" not in arguments:
        arguments = [*arguments, "--model", str(weights)]
    assert main(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"stvae {arguments[0]}: ") and named in last


def test_cost_of_each_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.safetensors"
    save(path, zoo.create("stvae-rt-s"), "stvae-rt-s", metadata={"processing_size": "[64, 48]"})
    command = ["benchmark", "outputs", "--model", str(path), "--precision", "fp32", "--size", "64", "48"]
    assert main([*command, "--frames", "2"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("64x48", "network", "~/flow", "~/events_color", "~/motion_mask"))
    assert "labels" not in printed
    assert main([*command, "--frames", "0"]) == 2
    assert capsys.readouterr().err.startswith("stvae benchmark outputs: --frames 0")


@pytest.mark.skipif(find_spec("lightning") is None, reason="needs Lightning: pip install '.[train]'")
@pytest.mark.filterwarnings("ignore")
def test_missing_training_clips_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stvae"])
    assert main(["train", "--data.clips", "[absent.mp4]", "--optimizer", "AdamW"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("stvae train: training clips not found: absent.mp4")


def write_clip(path: Path, frames: int = 6) -> Path:
    scene = SyntheticScene(2, 64, 48, objects=0, max_speed=4.0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for t in range(frames):
        writer.write(scene.frame(t))
    writer.release()
    return path


SMALL = ["--processing-size", "32", "24", "--device", "cpu", "--precision", "fp32"]


@pytest.mark.parametrize(("limit", "predictions"), [(None, 3), (5, 2)])
def test_evaluate_a_video_with_given_weights(
    tmp_path: Path,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    limit: int | None,
    predictions: int,
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    clip = write_clip(tmp_path / "clip.avi")
    frames = [] if limit is None else ["--frames", str(limit)]
    assert main(["evaluate", str(clip), "--model", str(weights), *SMALL, *frames]) == 0
    text = capsys.readouterr().out
    assert f"clip.avi: {predictions} predictions" in text
    figures = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("│ ").split("│")]
        if len(cells) >= 4:
            figures[cells[0]] = cells[1:]
    assert figures[str(weights)][0] == figures["copy last"][0], "an untrained network copies"
    assert float(figures["DIS medium"][0]) > float(figures["copy last"][0])
    assert "flow error" not in text, "no truth, no end-point error"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--size", "0", "0"], "0x0"),
        (["--size", "-5", "5"], "-5x5"),
        (["--size", "8", "8"], "8x8"),
        (["--processing-size", "31", "24"], "31x24"),
        (["--precision", "fp9"], "'fp9'"),
        (["--frames", "0"], "--frames 0"),
        (["--frames", "-1"], "--frames -1"),
    ],
)
def test_options_of_evaluate_out_of_range(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    clip = write_clip(tmp_path / "clip.avi")
    assert main(["evaluate", str(clip), "--model", str(weights), *SMALL, *options]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("stvae evaluate: ") and named in lines[-1]


@pytest.mark.parametrize("kind", ["sizes", "channels"])
def test_a_folder_of_unequal_images_is_named(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    folder = tmp_path / "unequal"
    folder.mkdir()
    for index in range(4):
        picture = np.full((48, 64, 3), 90, np.uint8)
        if index == 3:
            picture = picture[:40] if kind == "sizes" else picture[..., 0]
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    assert main(["evaluate", str(folder), "--model", str(weights), *SMALL]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("stvae evaluate: ") and "unequal" in last


def test_weights_that_cannot_be_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: Path
) -> None:
    clip = write_clip(tmp_path / "clip.avi")
    weights.write_bytes(weights.read_bytes()[:500])
    assert main(["evaluate", str(clip), "--model", str(weights)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and str(weights) in lines[0] and "truncated" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "command"),
        (["fly"], "'fly'"),
        (["models", "--size", "wide", "20"], "'wide'"),
        (["models", "--speed"], "--speed"),
    ],
)
def test_usage_errors_end_with_a_line_that_names_them(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert named in capsys.readouterr().err.strip().splitlines()[-1]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("stvae_ros ")


def test_models_counts_for_the_size_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = {}
    for size in ("160 120", "320 240"):
        assert main(["models", "--size", *size.split()]) == 0
        text, errors = capsys.readouterr()
        assert ("left out" in errors) == (size == "160 120"), "which stvae-rt does not take"
        line = next(line for line in text.splitlines() if "1,035,067" in line)
        rows[size] = [cell.strip() for cell in line.strip("│ ").split("│")]
    assert [row[1] for row in rows.values()] == ["1,035,067"] * 2
    assert rows["320 240"][3] == "39.92", "GFLOP"
    assert [row[4] for row in rows.values()] == ["2.46", "9.83"], "2 x 64 x 80 x 60 x 4 bytes, and four times that"


@pytest.mark.skipif(find_spec("lightning") is None, reason="needs Lightning: pip install '.[train]'")
@pytest.mark.filterwarnings("ignore")
def test_options_of_train_out_of_range(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stvae"])
    assert main(["train", "--model.network", "ae-nothing"]) == 2
    assert "'ae-nothing'" in capsys.readouterr().err.strip().splitlines()[-1]
    with pytest.raises(SystemExit) as end:
        main(["train", "--data.nonsense", "3"])
    assert end.value.code == 2
    assert "Option 'nonsense' is not accepted" in capsys.readouterr().err


HIDDEN = ("torchmetrics", "rosbags", "mcap", "matplotlib", "lightning", "onnx", "jinja2", "h5py", "rclpy")
HELP = ("", "bag", "bag make", "evaluate", "evaluate bag", "benchmark", "benchmark backends", "train")


@pytest.mark.parametrize("words", HELP)
def test_help_works_without_any_extra(words: str) -> None:
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {HIDDEN}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from stvae_ros.cli.main import main\n"
        f"main({[*words.split(), '--help']})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert f"usage: stvae {words}".rstrip() in done.stdout and not done.stderr
    if words in ("", "bag", "evaluate", "benchmark"):
        listed = [line[2:20].rstrip() for line in done.stdout.partition("commands")[2].splitlines() if line[:2] == "  "]
        assert listed == [name for name in _COMMANDS if name.startswith(f"{words} ".lstrip())], "each once, in order"


@pytest.mark.parametrize("arguments", [["bag"], ["bag", "nonsense"]])
def test_a_group_of_commands_is_no_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err.endswith("stvae bag: error: give a command of stvae bag: make\n")


def test_scene_draws_a_row_for_each_scene(tmp_path: Path) -> None:
    output = tmp_path / "pictures" / "scenes.png"
    scenes = ["scene3d:1:street:drive", "scene3d:2:room:shake"]
    assert main(["scene", *scenes, "--frame", "3", "--size", "64", "48", "--output", str(output)]) == 0
    picture = cv2.imread(str(output))
    assert picture is not None and picture.shape == (2 * (48 + 22), 4 * 64, 3)
    scene = open_scene(scenes[1], 64, 48)
    np.testing.assert_array_equal(picture[70 + 22 :, :64], scene.frame(3))
