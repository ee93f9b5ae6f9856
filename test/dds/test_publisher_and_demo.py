"""The video publisher and the demo as real processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from checkout import make
from robot import CAMERA_QOS, Robot, new_domain
from sensor_msgs.msg import CompressedImage, Image

from stvae_ros.data.scenes.scene3d import Scene3D
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import compressed_to_array, image_to_array


@pytest.fixture
def robot() -> Iterator[Robot]:
    with Robot() as robot:
        yield robot


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (96, 64))
    scene = SyntheticScene(1, 96, 64)
    for t in range(20):
        writer.write(scene.frame(t))
    writer.release()
    return path


def stvae(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stvae_ros.cli.main", *map(str, arguments)]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(new_domain())}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)


def make_demo(folder: Path, command: str) -> tuple[dict[str, Any], Path, str]:
    """Run `make demo`; returns the figures, the folder of all results, and what was printed."""
    done = make(folder / "checkout", command, ROS_DOMAIN_ID=str(new_domain()))
    assert done.returncode == 0, done.stdout + done.stderr
    output = folder / "checkout" / "demo"
    return json.loads((output / "metrics.json").read_text()), output, done.stdout + done.stderr


def test_file_is_played_once_at_its_rate(robot: Robot, clip: Path) -> None:
    robot.listen("/image", Image, CAMERA_QOS)
    camera = robot.start("video_publisher", source=clip, wait_for_subscribers=1, frame_id="lens")
    robot.wait_for(lambda: camera.poll() is not None, 40)
    robot.spin(0.3)
    images = robot.messages["/image"]
    assert camera.returncode == 0 and len(images) == 20
    assert {(m.width, m.height, m.encoding, m.header.frame_id) for m in images} == {(96, 64, "bgr8", "lens")}
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in images]
    assert np.median(np.diff(stamps)) == pytest.approx(0.04, abs=0.008)


def write_events(path: Path) -> None:
    """0.4 s of a bar that moves right over a 96x64 sensor."""
    lines = ["96 64"]
    for t in range(12):
        for y in range(16, 48):
            lines += [f"{33_300 * t + 200 * y} {20 + 3 * t + k} {y} {int(k == 2)}" for k in range(3)]
    path.write_text("\n".join(lines) + "\n")


def test_events_are_played_as_images(robot: Robot, tmp_path: Path) -> None:
    write_events(tmp_path / "bar.txt")
    robot.listen("/image", Image, CAMERA_QOS)
    camera = robot.start("video_publisher", source=tmp_path / "bar.txt", rate=10.0, wait_for_subscribers=1)
    robot.wait_for(lambda: camera.poll() is not None, 40)
    robot.spin(0.3)
    images = robot.messages["/image"]
    assert {(m.width, m.height, m.encoding) for m in images} == {(96, 64, "mono8")} and len(images) == 11
    first = image_to_array(images[0])
    assert (first[20:44, 20] < 128).all() and (first[20:44, 22] > 128).all() and (first[:16] == 128).all()


def test_demo_on_events(tmp_path: Path) -> None:
    bar = tmp_path / "bar.txt"
    write_events(bar)
    refused = stvae("demo", "--video", bar)
    assert refused.returncode == 2 and "add --input events" in refused.stderr
    metrics, output, _ = make_demo(tmp_path, f"make demo INPUT=events VIDEO={bar} ARGS='--rate 3 --frames 11'")
    assert metrics["model"] == "stvae-rt-s" and metrics["frames_out"] >= 5 and metrics["psnr_prediction_db"] is not None
    picture = cv2.imread(str(output / "demo.png"))
    assert picture is not None and picture.shape[1] == 6 * 320, "input, events, predicted, surprise, flow, moving"


def test_synthetic_scene_comes_with_its_truth(robot: Robot) -> None:
    robot.listen("/image/compressed", CompressedImage, CAMERA_QOS)
    robot.listen("/ground_truth/flow")
    robot.listen("/ground_truth/labels")
    camera = robot.start(
        "video_publisher", source="synthetic", frames=12, rate=10.0, width=96, height=64, seed=5, max_speed=3.0,
        compressed=True, wait_for_subscribers=1,
    )  # fmt: skip
    robot.wait_for(lambda: camera.poll() is not None, 40)
    robot.spin(0.3)
    scene = SyntheticScene(5, 96, 64, 4, 3.0)
    by_stamp = {str(m.header.stamp): m for m in robot.messages["/ground_truth/flow"]}
    labels = {str(m.header.stamp): m for m in robot.messages["/ground_truth/labels"]}
    compared = 0
    for t, message in enumerate(robot.messages["/image/compressed"]):
        error = np.abs(compressed_to_array(message).astype(int) - scene.frame(t)).mean()
        assert error < 12, "JPEG of the frame"
        if str(message.header.stamp) in by_stamp and str(message.header.stamp) in labels:
            flow = np.frombuffer(by_stamp[str(message.header.stamp)].data, np.float32).reshape(64, 96, 2)
            np.testing.assert_array_equal(flow, scene.truth(t).forward_flow)
            np.testing.assert_array_equal(image_to_array(labels[str(message.header.stamp)]), scene.truth(t).labels)
            compared += 1
    assert compared >= 6


def test_a_3d_street_is_the_default_and_comes_with_depth_and_late_labels(robot: Robot) -> None:
    robot.listen("/image", Image, CAMERA_QOS)
    robot.listen("/segmentation")
    robot.listen("/ground_truth/depth")
    camera = robot.start(
        "video_publisher", frames=20, rate=10.0, width=96, height=64, seed=5, label_rate=2.0, label_delay=0.3,
        wait_for_subscribers=1,
    )  # fmt: skip
    robot.wait_for(lambda: camera.poll() is not None, 40)
    robot.spin(0.3)
    scene = Scene3D(5, 96, 64, "street", "drive")
    stamps = [str(m.header.stamp) for m in robot.messages["/image"]]
    labelled = {str(m.header.stamp): image_to_array(m) for m in robot.messages["/segmentation"]}
    assert len(stamps) == 20 and list(labelled) == stamps[::5], "all four of two seconds, the last one just in time"
    for stamp, labels in labelled.items():
        np.testing.assert_array_equal(labels, scene.truth(stamps.index(stamp)).labels)
    depths = {str(m.header.stamp): m for m in robot.messages["/ground_truth/depth"]}
    assert set(depths) <= set(stamps) and len(depths) >= 10
    for stamp, message in depths.items():
        depth = np.frombuffer(message.data, np.float32).reshape(64, 96)
        np.testing.assert_array_equal(depth, scene.truth(stamps.index(stamp)).depth)


def test_a_source_that_cannot_be_played_is_named(robot: Robot) -> None:
    camera = robot.start("video_publisher", source="/absent/clip.mp4")
    robot.wait_for(lambda: camera.poll() is not None, 40)
    assert camera.returncode == 1


def test_demo_on_a_file(clip: Path, tmp_path: Path) -> None:
    metrics, output, printed = make_demo(tmp_path, f"make demo VIDEO={clip} ARGS='--frames 20 --rate 4'")
    assert " of 20 frames, PSNR " in printed, "progress without a terminal"
    assert metrics["psnr_copy_db"] > 10 and metrics["end_point_error_px"] is None
    assert metrics["frames_out"] >= 15 and metrics["model"] == "stvae-rt-m"
    assert metrics["latency_median_ms"] <= metrics["latency_99_ms"]
    picture = cv2.imread(str(output / "demo.png"))
    assert picture is not None and picture.shape[1] == 7 * 320, (
        "input, prediction, two errors, flow, surprise, confidence"
    )
    assert metrics["psnr_copy_moving_db"] is not None and "moving pixels" in printed
    video = cv2.VideoCapture(str(output / "demo.webm"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) >= 10
    assert int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little") == b"VP80", "which browsers play"


def test_demo_on_the_built_in_scene_measures_flow(tmp_path: Path) -> None:
    options = "--rate 5 --frames 40 --moving-picture docs/demo.webp"
    metrics, output, _ = make_demo(tmp_path, f"make demo ARGS='{options}'")
    assert metrics["frames_out"] >= 24, "most of 40, though other tests share the cores"
    assert metrics["psnr_prediction_db"] > metrics["psnr_copy_db"]
    assert metrics["psnr_prediction_moving_db"] > metrics["psnr_copy_moving_db"]
    assert metrics["end_point_error_px"] < metrics["end_point_error_of_no_flow_px"]
    picture = cv2.imread(str(output / "demo.png"))
    assert picture is not None and picture.shape[1] == 9 * 320, "with labels"
    assert (output.parent / "docs" / "demo.webp").stat().st_mtime >= (output / "demo.webm").stat().st_mtime


def test_demo_says_what_is_wrong(tmp_path: Path) -> None:
    missing = stvae("demo", "--video", tmp_path / "absent.mp4", "--output", tmp_path / "out")
    assert missing.returncode == 2 and "absent.mp4" in missing.stderr and not (tmp_path / "out").exists()
    weights = stvae("demo", "--model", "nonsense", "--output", tmp_path / "out")
    assert weights.returncode == 2 and "nonsense" in weights.stderr
