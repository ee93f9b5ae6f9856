"""Evaluation of label propagation, and `stvae evaluate labels`, on scenes with true labels."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import pytest

from stvae_ros.cli.main import main
from stvae_ros.data.labelled import Labelled
from stvae_ros.data.scenes.shapes import CLASS_NAMES, SyntheticScene
from stvae_ros.evaluation.core.classical_flow import dis_flow
from stvae_ros.evaluation.labels import HoldLast, Warped, evaluate_labels

CLASSES = len(CLASS_NAMES)


def frames(count: int) -> list[Labelled]:
    scene = SyntheticScene(5, 160, 128, objects=2, max_speed=3.0)
    return [Labelled(scene.frame(t), scene.truth(t).labels) for t in range(count)]


def test_labels_on_every_frame_are_exact_and_flow_beats_holding() -> None:
    def carriers() -> dict:
        return {"hold": HoldLast(), "DIS": Warped(dis_flow("medium"))}

    every = evaluate_labels(frames(6), carriers(), 1, CLASSES)
    assert every["hold"].confusion.mean_iou == every["DIS"].confusion.mean_iou == 1
    sparse = evaluate_labels(frames(13), carriers(), 6, CLASSES)
    assert sparse["DIS"].confusion.mean_iou > sparse["hold"].confusion.mean_iou + 0.05
    assert len(sparse["hold"]["ms"]) == 10, "of 13 frames three had labels"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    images, labels = tmp_path / "images", tmp_path / "labels"
    for folder, index in ((images, 0), (labels, 1)):
        folder.mkdir()
        for t, frame in enumerate(frames(8)):
            cv2.imwrite(str(folder / f"{t:03}.png"), frame[index])
    return images, labels


def test_the_command_writes_every_class(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = map(str, folders)
    options = ["--output", str(tmp_path / "out"), "--intervals", "1", "4", "--classes", str(CLASSES)]
    assert main(["evaluate", "labels", images, labels, *options, "--model", "stvae-rt-s"]) == 0
    assert "hold last" in capsys.readouterr().out
    with (tmp_path / "out" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {(row["interval"], row["labels"]): float(row["mIoU (%)"]) for row in rows}
    assert found["1", "stvae-rt-s"] == 100
    assert found["4", "stvae-rt-s"] > found["4", "hold last"]
    assert f"IoU of class {CLASSES - 1} (%)" in rows[0]


def test_the_command_names_what_is_wrong(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = folders
    (labels / "007.png").unlink()
    assert main(["evaluate", "labels", str(images), str(labels), "--output", str(tmp_path / "out")]) == 2
    assert "8 images" in capsys.readouterr().err
    (labels / "007.png").write_text("no image")
    assert main(["evaluate", "labels", str(images), str(labels), "--output", str(tmp_path / "out")]) == 2
    assert "007.png" in capsys.readouterr().err
    assert main(["evaluate", "labels", str(images), str(tmp_path / "absent"), "--output", str(tmp_path / "out")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
