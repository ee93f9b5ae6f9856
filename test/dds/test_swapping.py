"""Another network, device or precision while the node is at work."""

from pathlib import Path

import numpy as np
from rcl_interfaces.srv import GetParameters
from robot import MS, Robot, small_network
from safetensors.numpy import save_file

from stvae_ros.checkpoint import Checkpoint
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import to_nanoseconds

FLOW = "/perception/flow"


def get_text(robot: Robot, name: str) -> str:
    return robot.call(GetParameters, "/perception/get_parameters", names=[name]).values[0].string_value


def test_networks_change_without_losing_the_camera(tmp_path: Path) -> None:
    scene = SyntheticScene(4, 96, 64)
    weights = [small_network(tmp_path, seed) for seed in range(3)]
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(weights[0].read_bytes()[:5000])
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, foreign)
    unfit = tmp_path / "unfit.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, unfit, Checkpoint.open(weights[0]).metadata)
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
            ("model", "absent", "no checkpoint for model 'absent'"),
            ("model", str(broken), "truncated"),
            ("model", str(foreign), "not a checkpoint of this package"),
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
