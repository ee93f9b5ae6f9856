"""Evaluation of networks that see events, and its commands; the command for motion masks."""

import json
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from networks import Drift

from stvae_ros import zoo
from stvae_ros.checkpoint import save
from stvae_ros.cli.main import main
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.evaluation.core.loop import PERIOD, WARM_UP, Sample
from stvae_ros.evaluation.events import (
    EventNetwork,
    evaluate_events,
    event_methods,
    hot_pixels,
    recorded,
    simulated,
    simulated_scene,
    warped_image,
)
from stvae_ros.events.arrays import Events
from stvae_ros.events.images import EventImage
from stvae_ros.events.readers import EventRecording
from stvae_ros.events.simulator import EventModel, EventSimulator
from stvae_ros.nn.interface import Prediction, State


def pan(count: int) -> list[np.ndarray]:
    noise = np.random.default_rng(2).integers(0, 256, (10, 50), np.uint8)
    texture = cv2.resize(noise, (400, 80), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(texture[:, 3 * t : 3 * t + 120]) for t in range(count)]


def test_true_flow_makes_events_sharp() -> None:
    simulator, windows = EventSimulator(EventModel(theta_on=0.1, theta_off=0.1)), []
    for t, image in enumerate(pan(4)):
        step = simulator.step(image, t * 30_000_000)
        if step is not None:
            windows.append((step.events(), step.start, step.end))
    flow = np.full((80, 120, 2), (3.0, 0.0), np.float32)
    still, moved, wrong = (warped_image(windows, f).var() for f in (0 * flow, flow, -flow))
    assert moved > 1.3 * still and moved > 1.3 * wrong
    ramp = Events.of([0, 5, 10], [10, 9, 8], [4, 4, 4], [True, True, False])
    image = warped_image([(ramp, 0, 10)], np.full((8, 16, 2), (2.0, 0.0), np.float32))
    assert image[4, 8] == 3 and image.sum() == 3, "one edge, seen at three moments"
    assert warped_image([(ramp, 0, 10)], np.full((8, 16, 2), (90.0, 0.0), np.float32)).sum() == 1, "two have left"


def test_hot_pixels_are_those_with_the_most_events() -> None:
    events = Events.of(range(8), [1, 1, 1, 2, 2, 0, 3, 2], [0, 0, 0, 1, 1, 0, 1, 1], [True] * 8)
    recording = EventRecording("by hand", 2, 4, lambda: iter([events[:4], events[4:]]))
    assert np.flatnonzero(hot_pixels(recording, 0.25)).tolist() == [1, 6] and not hot_pixels(recording, 0.0).any()
    shown = EventImage(window=4e-6)
    seen = next(recorded(recording, shown, 0.25))
    assert seen.events is not None and len(seen.events[0]) == 0 and (seen.image != 128).sum() == 2


def test_scores_of_a_network_that_knows() -> None:
    shown = EventImage(limit=4)
    network = EventNetwork(Drift(-3, channels=1, size_multiple=16), shown, "cpu", "fp32")
    scores = evaluate_events(simulated(pan(8), shown, EventModel()), event_methods(network, shown), shown)
    assert [len(score["psnr"]) for score in scores.values()] == [4, 4, 4] and not scores["network"]["epe"]
    known, copied, empty = (score.mean("psnr") for score in scores.values())
    assert known > copied + 2 and known > empty
    forecast = network(Sample(np.full((70, 50, 1), 128, np.uint8)[:40, :50], 8 * PERIOD))
    assert forecast.backward is not None
    assert forecast.images[1].shape == (40, 50, 1) and forecast.backward.shape == (40, 50, 2), "padded and cut again"


def test_errors_of_the_flow_are_those_of_the_scene() -> None:
    shown = EventImage()

    class Still(Drift):
        def step(self, frame: torch.Tensor, state: State) -> tuple[Prediction, State]:
            return Prediction(frame, None), state

    samples = list(islice(simulated_scene(3, (64, 48), shown, EventModel()), 6))
    scene = SyntheticScene(3, 64, 48)
    assert samples[0].flow is not None and np.array_equal(samples[0].flow, scene.truth(1).forward_flow)
    network = EventNetwork(Still(0, channels=1, size_multiple=16), shown, "cpu", "fp32")
    scores = evaluate_events(samples, event_methods(network, shown), shown)
    still, copied = scores["network"], scores["copy last"]
    assert still["epe"] == pytest.approx(copied["epe"]) and still["epe_all"] == pytest.approx(copied["epe_all"])
    expected = [np.linalg.norm(s.flow, axis=2).mean() for s in samples[WARM_UP:] if s.flow is not None]
    assert len(expected) == 4 and copied["epe_all"] == pytest.approx(expected, rel=1e-4)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    weights, small = tmp_path / "events.safetensors", tmp_path / "small.safetensors"
    network, size = zoo.create("stvae-rt-s", in_channels=1), {"processing_size": "[64, 48]"}
    save(weights, network, "stvae-rt-s", {"in_channels": 1}, EventImage().metadata())
    save(small, zoo.create("ae-convlstm-flow"), "ae-convlstm-flow", {}, size)
    recording = tmp_path / "recording.txt"
    rng = np.random.default_rng(0)
    stamps, pixels = np.sort(rng.integers(0, 300_000, 3000)), rng.integers(0, (64, 48), (3000, 2))
    lines = [f"{t} {x} {y} {t % 2}\n" for t, (x, y) in zip(stamps, pixels, strict=True)]
    recording.write_text("".join(["64 48\n", *lines]))
    options = ["--model", str(weights), "--frames", "6"]
    assert main(["evaluate", "events", "synthetic:1", str(recording), *options]) == 0
    printed = capsys.readouterr().out
    for words in ("empty image", "no flow, there", "moved by the flow observed", "recording.txt"):
        assert words in printed
    assert main(["evaluate", "events", "synthetic:1", "--model", "stvae-rt-s"]) == 2
    assert "sees the frames of a camera" in capsys.readouterr().err
    assert main(["evaluate", "events", str(recording), *options[:2], "--frames", "2"]) == 2
    assert main(["evaluate", "events", "events:nowhere", *options]) == 2
    assert "no such recording" in capsys.readouterr().err

    for command in (["synthetic:1"], ["mask", "synthetic:1"]):
        assert main(["evaluate", *command, "--model", str(weights)]) == 2
        assert "sees events, not camera frames" in capsys.readouterr().err

    folders = [tmp_path / "frames", tmp_path / "masks"]
    scene = SyntheticScene(2, 64, 48)
    for folder in folders:
        folder.mkdir()
    for t in range(5):
        cv2.imwrite(str(folders[0] / f"{t}.png"), scene.frame(t))
        cv2.imwrite(str(folders[1] / f"{t}.png"), (scene.truth(t).labels > 0).astype(np.uint8))
    command = ["evaluate", "mask", "--masks", *map(str, folders), "--model", str(small)]
    assert main([*command, "--frames", "5"]) == 0
    printed = capsys.readouterr().out
    assert all(words in printed for words in ("MOG2", "frame difference", "frames", "small"))
    assert main([*command, "--frames", "5", "--format", "json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    assert [set(row) for row in table["rows"]] == [{"method", "frames", "mean", "ms"}] * 3
    scenes = ["scene3d:1:street:walk", "synthetic:2"]
    assert main(["evaluate", "mask", *scenes, "--frames", "4", "--model", str(small)]) == 0
    printed = capsys.readouterr().out
    assert all(scene in printed for scene in scenes)
    (folders[1] / "4.png").unlink()
    assert main(command) == 2 and "5 images and" in capsys.readouterr().err
    assert main(["evaluate", "mask"]) == 2 and "nothing to evaluate" in capsys.readouterr().err
    assert main(["evaluate", "mask", "video.mp4"]) == 2 and "scene3d:SEED" in capsys.readouterr().err
