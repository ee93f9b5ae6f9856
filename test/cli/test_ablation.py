"""`stvae ablation` on small clips, with trainings that are too short to learn anything."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
import yaml

from stvae_ros import zoo
from stvae_ros.cli.main import main
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.resources import share_directory

pytestmark = [
    pytest.mark.skipif(find_spec("lightning") is None, reason="needs Lightning: pip install '.[train]'"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.mark.parametrize("size", ["s", "m", "l"])
def test_recipes_name_their_network(size: str) -> None:
    recipe = yaml.safe_load((share_directory() / "config" / "train" / f"stvae-rt-{size}.yaml").read_text())
    assert recipe["model"]["network"] == f"stvae-rt-{size}"
    assert recipe["trainer"]["default_root_dir"] == f"runs/stvae-rt-{size}"
    assert recipe["lr_scheduler"]["init_args"]["total"] == recipe["trainer"]["max_steps"]


def test_variants_are_trained_once_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    recipe = yaml.safe_load((share_directory() / "config" / "train" / "stvae-rt-m.yaml").read_text())
    for seed, name in enumerate(recipe["data"]["init_args"]["clips"]):
        scene = SyntheticScene(seed, 352, 256, objects=1)
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*"MJPG"), 10, (352, 256))
        for t in range(60):
            writer.write(scene.frame(t))
        writer.release()
    arguments = ["ablation", "synthetic:1", "--root", str(tmp_path), "--steps", "1", "--frames", "13", "--crop", "64"]
    arguments += ["--size", "64", "48", "--output", str(tmp_path / "runs"), "--variants", "all", "no memory"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    weights = sorted((tmp_path / "runs").rglob("weights.safetensors"))
    assert [path.parent.name for path in weights] == ["all", "no-memory"]
    assert [zoo.load(path).memory for path in weights] == [True, False]
    written = [path.stat().st_mtime_ns for path in weights]
    assert main(arguments) == 0
    assert [path.stat().st_mtime_ns for path in weights] == written, "finished trainings are kept"
    for text in (first, capsys.readouterr().out):
        table = text[text.index("PSNR (dB) of the next frame") :]
        assert all(name in table for name in ("all", "no memory", "copy last", "DIS medium"))


def test_a_training_that_fails_is_named_with_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["ablation", "synthetic:1", "--root", str(tmp_path), "--output", str(tmp_path / "runs")]
    assert main([*arguments, "--variants", "no blend"]) == 2
    error = capsys.readouterr().err
    log = next((tmp_path / "runs").rglob("train.log"))
    assert "'no-blend'" in error and str(log) in error.replace("\n", "")
    assert "training clips not found" in log.read_text()
