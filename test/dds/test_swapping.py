"""Another network, device or precision while the node is at work."""

import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from rcl_interfaces.srv import GetParameters
from robot import MS, Robot, small_network
from safetensors.numpy import save_file

from stvae_ros import zoo
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import to_nanoseconds
from stvae_ros.nodes.perception.loading import load_aside
from stvae_ros.nodes.perception.parameters import PARAMETERS
from stvae_ros.streaming import Frame, StreamingPredictor
from stvae_ros.streaming.recorder import record_aside

FLOW = "/perception/flow"


def get_text(robot: Robot, name: str) -> str:
    return robot.call(GetParameters, "/perception/get_parameters", names=[name]).values[0].string_value


def is_running(process: psutil.Process) -> bool:
    """Not so a process that has ended and whose parent, which is not this one, has not asked for its end."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_networks_change_without_losing_the_camera(tmp_path: Path) -> None:
    scene = SyntheticScene(4, 96, 64)
    weights = [small_network(tmp_path, seed) for seed in range(3)]
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(weights[0].read_bytes()[:5000])
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, foreign)
    unfit = tmp_path / "unfit.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, unfit, zoo.read_metadata(weights[0]))
    with Robot() as robot:
        robot.listen(FLOW)
        robot.start_perception(model=weights[0], precision="fp32", num_threads=1)
        shown = 0

        def show_until(condition) -> None:
            nonlocal shown
            while not condition():
                shown += 1
                robot.show(scene.frame(shown % 32), shown * 40 * MS)
                robot.spin(0.04)

        def answered() -> bool:
            flows = robot.messages[FLOW]
            return bool(flows) and to_nanoseconds(flows[-1].header.stamp) >= shown * 40 * MS

        show_until(answered)
        for name, text, reason in (
            ("model", "absent", "no weights for model 'absent'"),
            ("model", str(broken), "truncated"),
            ("model", str(foreign), "not weights of this package"),
            ("model", str(unfit), "do not fit"),
            ("device", "cuda:7", "CUDA devices"),
            ("device", "abacus", "is not one"),
            ("precision", "fp16", "needs a CUDA device"),
            ("precision", "fp7", "not one of"),
        ):
            assert reason in robot.set_text(name, text)
            assert get_text(robot, name) == {"model": str(weights[0]), "device": "auto", "precision": "fp32"}[name]
        frames = shown
        show_until(lambda: shown > frames and answered())
        assert robot.process()[1]["weights"].startswith(weights[0].name), "refused, the old network stays at work"
        for name, text in (("model", str(weights[1])), ("precision", "bf16"), ("model", str(weights[2]))):
            assert robot.set_text(name, text) == ""  # the last one wins
        show_until(lambda: robot.process()[1]["weights"].startswith(weights[2].name))
        assert robot.process()[1]["precision"] == "bf16"
        frames = shown
        show_until(lambda: shown > frames + 2 and answered())
        robot.spin(1.5)
        assert robot.count("resets: network changed") == 1
        counts = robot.camera()[1]
        assert counts["frames received"] == str(int(counts["frames processed"]) + int(counts["drops"]))
        assert counts["drops"] == counts.get("drops: overtaken", "0")
        assert robot.set_text("model", str(weights[0])) == ""
        node = psutil.Process(robot.processes[0].pid)
        recorders = robot.wait_for(node.children)
    end = time.monotonic() + 30
    while any(is_running(process) for process in recorders):
        assert time.monotonic() < end, "what records for the node ends with it"
        time.sleep(0.1)


def test_another_process_records_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = small_network(tmp_path)
    recorded = record_aside(weights, (96, 64), "bf16")
    predictors = [StreamingPredictor.from_weights(weights, device="cpu", precision="bf16") for _ in range(2)]
    predictors[0].record()
    predictors[1].record(recorded.step)
    for t in range(3):
        frame = Frame(np.random.default_rng(t).integers(0, 256, (64, 96, 3), np.uint8), t * 40_000_000)
        one, other = (predictor.step({"": frame})[""] for predictor in predictors)
        assert one and other and np.array_equal(one.flow, other.flow) and np.array_equal(one.decoded, other.decoded)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended with 1"):
        record_aside(weights, (96, 64), "fp32")


def test_another_process_measures_what_auto_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {spec.name: spec.default for spec in PARAMETERS}
    values |= {"model": str(small_network(tmp_path)), "device": "cpu", "cache_folder": str(tmp_path)}
    monkeypatch.setattr("stvae_ros.streaming.predictor.choose_precision", pytest.fail)
    loaded = load_aside(values)
    assert str(loaded.description["why this precision"]).startswith("auto")
    assert loaded.description["precision"] == loaded.predictor.precision
