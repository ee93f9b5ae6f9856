"""Evaluation of carried boxes, and `stvae evaluate boxes`, on a scene with true masks."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from stvae_ros.cli.main import main
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.boxes import (
    ConstantVelocity,
    Detected,
    FlowBoxes,
    HoldBoxes,
    boxes_of,
    evaluate_boxes,
    median_shift,
    overlap,
)
from stvae_ros.evaluation.core.classical_flow import dis_flow
from stvae_ros.streaming.boxes import move_boxes


def frames(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    scene = SyntheticScene(5, 160, 128, objects=2, max_speed=3.0)
    return [(scene.frame(t), scene.truth(t).labels) for t in range(count)]


def test_boxes_of_masks() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[3:5, 10:20], mask[8:9, 1:2] = 7, 200
    found = boxes_of(mask)
    assert set(found) == {7, 200}
    np.testing.assert_array_equal(found[7], (10, 3, 20, 5))
    np.testing.assert_array_equal(found[200], (1, 8, 2, 9))


def test_overlap_counts_only_the_image() -> None:
    box = np.array([0.0, 0.0, 10.0, 10.0])
    assert overlap(box, box, 20, 20) == overlap(box - np.array([50, 0, 0, 0]), box, 20, 20) == 1
    assert overlap(box, box + np.array([5, 0, 5, 0]), 20, 20) == pytest.approx(1 / 3)
    assert overlap(box, box + 10, 20, 20) == 0


def test_constant_velocity_is_exact_where_the_velocity_is_constant() -> None:
    image, start = np.zeros((60, 200, 3), np.uint8), np.array([10.0, 10.0, 30.0, 30.0])
    stream = [Detected(image, {1: start + 3 * t * np.array([1, 0, 1, 0])}) for t in range(20)]
    scores = evaluate_boxes(stream, {"hold": HoldBoxes(), "velocity": ConstantVelocity()}, 4, 2)
    ahead = scores["velocity"]["iou"]
    assert len(ahead) == 18, "the first boxes come with frame 2"
    assert ahead[4:] == pytest.approx([1.0] * 14)
    assert ahead[:4] == scores["hold"]["iou"][:4] == pytest.approx([14 / 26, 11 / 29, 8 / 32, 5 / 35])


def test_flow_beats_holding_and_late_boxes_start_at_their_frame() -> None:
    stream = [Detected(image, boxes_of(labels)) for image, labels in frames(14)]
    for late in (0, 5):
        methods = {
            "hold": HoldBoxes(),
            "median": FlowBoxes(dis_flow("medium"), median_shift),
            "fit": FlowBoxes(dis_flow("medium"), move_boxes),
        }
        scores = evaluate_boxes(stream, methods, 4, late)
        assert scores["fit"].mean("iou") > scores["median"].mean("iou") > scores["hold"].mean("iou") + 0.03


def test_the_command_prints_each_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder, index in ((images, 0), (masks, 1)):
        folder.mkdir()
        for t, frame in enumerate(frames(10)):
            cv2.imwrite(str(folder / f"{t:03}.png"), frame[index])
    command = ["evaluate", "boxes", "--masks", str(images), str(masks), "--intervals", "4", "--late", "0", "2"]
    assert main([*command, "--model", "stvae-rt-s", "--format", "json"]) == 0
    [table] = json.loads(capsys.readouterr().out)
    rows = {row["boxes"]: row for row in table["rows"]}
    for case in ("every 4, 0 late", "every 4, 2 late"):
        assert rows["hold last"][case] < rows["stvae-rt-s"][case] <= 100
    assert main([*command, "--late", "61"]) == 2
    assert "give 0 to 60" in capsys.readouterr().err
