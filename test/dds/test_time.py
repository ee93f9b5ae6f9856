"""Stamps of cameras that cost frames or memory, over DDS: what is lost is said with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from robot import MS, Robot, small_network
from rosgraph_msgs.msg import Clock

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import to_time

SCENE = SyntheticScene(4, 96, 64)
START = 1_000_000 * MS


@pytest.mark.parametrize("clock_every", [0, 2], ids=["no clock", "slow clock"])
def test_images_without_a_stamp_are_worked_on(tmp_path: Path, clock_every: int) -> None:
    with Robot() as robot:
        robot.start_perception(model=small_network(tmp_path), num_threads=1, use_sim_time=True)
        robot.listen("/perception/flow")
        clock = robot.node.create_publisher(Clock, "/clock", 10)
        for index in range(20):
            if clock_every and index % clock_every == 0:
                clock.publish(Clock(clock=to_time(START + index * 40 * MS)))
            robot.show(SCENE.frame(index), 0)
            robot.wait_for(lambda index=index: len(robot.messages["/perception/flow"]) == index + 1)
        robot.wait_for(lambda: robot.count("frames processed") == 20)
        counts = robot.camera()[1]
        assert counts["drops"] == "0" and counts["frames without a stamp"] == "20"
        assert counts["latency from stamp median (ms)"] == "nan", "there is no stamp to count from"
        assert robot.camera()[0].level == b"\1" and "images on /image carry no stamp" in robot.camera()[0].message


def test_frequent_resets_and_frozen_stamps_are_named(tmp_path: Path) -> None:
    with Robot() as robot:
        with (tmp_path / "log").open("w") as log:
            robot.start_perception(output=log, model=small_network(tmp_path), num_threads=1)
        robot.listen("/perception/flow")

        def show(stamps: list[int]) -> str:
            """The message of /diagnostics after these frames, each after the one before has been answered."""
            for index, stamp in enumerate(stamps):
                seen = len(robot.messages["/perception/flow"])
                robot.show(SCENE.frame(index), START + stamp * MS)
                robot.wait_for(lambda seen=seen: len(robot.messages["/perception/flow"]) > seen)
                robot.spin(0.05)
            robot.spin(1.5)
            return robot.camera()[0].message

        assert "emptied" not in show([0, 40, 80, 2080, 2120, 4120, 4160]), "a gap or two are no matter"
        late = show([4200, 4240, 4320, 4280, 4400, 4440, 4520, 4480, 4600, 4640, 4720, 4680])
        assert "/image was emptied before 3 of the last 19 frames by a stamp that is 0.04 s older" in late
        assert "publish frames in the order of their stamps" in late and robot.camera()[0].level == b"\1"
        robot.wait_for(lambda: "publish frames in the order of their stamps" in (tmp_path / "log").read_text())
        slow = show([5000 + 2000 * index for index in range(60)])
        assert "frames by stamps that are 2.00 s apart: raise max_gap above that" in slow
        for _ in range(55):  # Longer than /diagnostics shows a single one.
            robot.show(SCENE.frame(0), START + 123_000 * MS)
            robot.spin(0.2)
        frozen = (
            "frames with the same stamp 1123000000000 ns are dropped: the camera driver must give each frame its own"
        )
        assert frozen in robot.camera()[0].message and (tmp_path / "log").read_text().count(frozen) == 1
