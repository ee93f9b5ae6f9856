"""Evaluation of bags: figures, outputs, report, workers, and the same bits as the node."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from pytest import approx

import stvae_ros
from stvae_ros.data.scenes.shapes import SyntheticScene

# Not importorskip: pytest's launch plugin imports every module and would skip the whole folder.
if any(find_spec(name) is None for name in ("rosbags", "mcap", "zstandard", "torchmetrics", "matplotlib")):
    pytestmark = pytest.mark.skip(reason="needs rosbags and torchmetrics: pip install '.[bags,eval]'")
else:
    from bags import MS, PERIOD, START, scene_images, write_bag
    from networks import small_network

    from stvae_ros.cli.main import main
    from stvae_ros.data.bags.bag import Bag
    from stvae_ros.data.bags.writer import BagWriter
    from stvae_ros.data.image_messages import floats_to_array
    from stvae_ros.evaluation.bags.charts import curves, method_colors
    from stvae_ros.evaluation.bags.report import verdict
    from stvae_ros.evaluation.bags.run import BagOptions, Stream, evaluate_stream, is_done
    from stvae_ros.evaluation.bags.running_statistics import Running
    from stvae_ros.evaluation.core.metrics import psnr

CAMERA = "/camera/image_raw"
SMALL = ["--processing-size", "96", "64", "--threads", "1"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def untimed(path: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "latency_ms"} for row in rows(path)]


def scene_bag(path: Path, count: int) -> Path:
    """With true flow and labels, a frame whose stamp comes twice, and a pause of 5 s before frame 8."""
    scene = SyntheticScene(4, 96, 64)
    with BagWriter(path) as bag:
        for t in range(count):
            stamp = START + t * PERIOD + (t >= 8) * 5_000 * MS
            bag.write(CAMERA, scene.frame(t), "bgr8", stamp, "lens", time=stamp + MS)
            if t == 3:
                bag.write(CAMERA, scene.frame(t), "bgr8", stamp, "lens", time=stamp + 2 * MS)
            truth = scene.truth(t)
            bag.write("/camera/ground_truth/flow", truth.forward_flow, "32FC2", stamp, "lens", time=stamp + 20 * MS)
            bag.write("/camera/ground_truth/labels", truth.labels, "mono8", stamp, "lens", time=stamp + 20 * MS)
    return path


def test_figures_and_outputs_of_a_stream(tmp_path: Path) -> None:
    path, folder = scene_bag(tmp_path / "bag", 16), tmp_path / "out"
    options = BagOptions(("stvae-rt-s",), processing_size=(96, 64), label_interval=0.15, threads=1)
    stream = Stream(str(path), CAMERA, "out")
    evaluate_stream(stream, options, folder)
    assert is_done(stream, options, folder) and not is_done(stream, BagOptions(("stvae-rt-m",)), folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["frames"], summary["repeated"], summary["size"]) == (16, 1, [96, 64])
    assert summary["resets"] == {"first frame": 1, "gap": 1} and summary["problems"] == []
    repeated, emptied = summary["losses"]
    assert "1 of 17 frames have the stamp of the frame before and are left out" in repeated
    assert "the memory was emptied before 1 of 16 frames by gaps of more than 1 s: raise --max-gap" in emptied
    scene = SyntheticScene(4, 96, 64)
    found = {(int(row["frame"]), row["method"]): row for row in rows(folder / "rows.csv")}
    # Predictions of the first two frames after a reset do not count, and nothing is predicted over the pause.
    assert [t for t in range(16) if found.get((t, "copy last"), {}).get("psnr")] == [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
    copied = found[6, "copy last"]
    assert float(copied["psnr"]) == approx(psnr(scene.frame(5), scene.frame(6)), abs=1e-3)
    assert float(copied["psnr_2"]) == approx(psnr(scene.frame(4), scene.frame(6)), abs=1e-3)
    assert copied["psnr_5"] == "" and float(found[7, "copy last"]["psnr_5"]) == approx(
        psnr(scene.frame(2), scene.frame(7)), abs=1e-3
    )
    change = np.abs(scene.frame(5).astype(int) - scene.frame(6)).mean() / 255
    assert float(copied["photometric"]) == approx(change, rel=1e-4)
    flow = scene.truth(5).forward_flow
    assert float(copied["epe"]) == approx(np.hypot(flow[..., 0], flow[..., 1]).mean(), rel=1e-4)
    assert int(copied["stamp"]) == START + 6 * PERIOD and float(copied["seconds"]) == approx(0.3)
    # Labels are given at frames 0 and 3, and after the pause.
    held = (scene.truth(3).labels == scene.truth(5).labels).mean()
    assert float(found[5, "copy last"]["label_accuracy"]) == approx(held, rel=1e-4)
    means = {name: {c: f["mean"] for c, f in columns.items()} for name, columns in summary["methods"].items()}
    assert means["copy last"]["psnr"] == approx(
        np.mean([float(r["psnr"]) for (_, m), r in found.items() if m == "copy last" and r["psnr"]]), abs=1e-3
    )
    assert means["stvae-rt-s"]["psnr"] > means["copy last"]["psnr"]
    assert means["stvae-rt-s"]["epe"] < means["copy last"]["epe"]
    assert means["stvae-rt-s"]["label_miou"] > means["copy last"]["label_miou"]
    outputs = Bag(folder / "outputs")
    assert {f"/perception/{name}" for name in ("flow", "prediction", "surprise", "labels")} <= set(outputs.topics)
    flows = list(outputs.messages(["/perception/flow"]))
    assert [m.stamp for m in flows] == [START + t * PERIOD + (t >= 8) * 5_000 * MS for t in range(16)]
    assert {m.frame_id for m in flows} == {"lens"} and flows[0].time == flows[0].stamp + MS
    predictions = list(outputs.images("/perception/prediction"))
    assert predictions[4].stamp == START + 5 * PERIOD
    ours = [float(found[t, "stvae-rt-s"]["psnr"]) for t in (5, 6)]
    assert ours == approx([psnr(predictions[t - 1].image, scene.frame(t)) for t in (5, 6)], abs=1e-3)
    assert len(summary["worst"]) == 2 and all(
        (folder / picture["picture"]).is_file() for picture in summary["worst"][0]["pictures"]
    )


def test_workers_change_nothing_and_one_broken_bag_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = [write_bag(tmp_path / f"bag_{seed}", scene_images(7, seed)) for seed in (1, 2)]
    (tmp_path / "broken.mcap").write_bytes(b"nothing")
    command = ["evaluate", "bag", str(bags[0]), str(tmp_path / "broken.mcap"), str(bags[1]), *SMALL]
    command += ["--model", str(small_network(tmp_path)), "--outputs", "flow", "--video", "0.3"]
    for workers in (1, 2):
        output = tmp_path / f"workers_{workers}"
        assert main([*command, "--output", str(output), "--workers", str(workers)]) == 1
        assert re.search(r"broken\.mcap.*neither SQLite nor MCAP", capsys.readouterr().err)
    tables = [untimed(tmp_path / name / "metrics.csv") for name in ("workers_1", "workers_2")]
    assert tables[0] == tables[1] and {row["bag"] for row in tables[0]} == {str(bag) for bag in bags}
    flows = [
        [m.message.data.tobytes() for m in Bag(output).messages(["/perception/flow"])]
        for name in ("workers_1", "workers_2")
        for output in sorted((tmp_path / name / "bags").iterdir())
    ]
    assert len(flows[0]) == 7 and flows[:2] == flows[2:]
    report = (tmp_path / "workers_2" / "report.html").read_text()
    assert "data:video/webm;base64," in report and "data:image/jpeg;base64," in report
    assert report.count("broken.mcap") == 2, "its path, and why; and the command"
    assert f"<code>stvae evaluate bag {bags[0]} " in report and f"stvae_ros {stvae_ros.__version__}" in report
    (said,) = re.findall(r'class="verdict">([^<]+)', report)
    assert re.match(r"small0 predicts \w+ pixels [\d.]+ dB (better|worse) than DIS medium and ", said), said
    for title in ("flow of small", "error of small", "error of DIS medium", "error of copy last"):
        assert report.count(f"<figcaption>{title}") == report.count("<figcaption>last frame")
    time_columns = [row.split("<td")[-2:] for row in report.split("<table>")[1].split("<tr")[2:]]
    for column in zip(*time_columns, strict=True):
        assert sum('class="best"' in cell for cell in column) >= 1, "the fastest is marked"
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", report), "it must open without a network"
    figures = json.loads((tmp_path / "workers_2" / "metrics.json").read_text())
    assert len(figures["streams"]) == 2 and len(figures["failed"]) == 1
    # What is finished is not done again; the broken one, mended, is.
    timed = [row["latency_ms"] for row in rows(tmp_path / "workers_1" / "metrics.csv")]
    short = write_bag(tmp_path / "short", scene_images(2))
    (tmp_path / "broken.mcap").write_bytes(next(short.glob("*.mcap")).read_bytes())
    assert main([*command, "--output", str(tmp_path / "workers_1")]) == 0
    assert "2 cameras were finished by an earlier run" in capsys.readouterr().err
    again = rows(tmp_path / "workers_1" / "metrics.csv")
    assert [row["latency_ms"] for row in again if "broken" not in row["bag"]] == timed
    report = (tmp_path / "workers_1" / "report.html").read_text()
    assert "16 frames of 3 cameras" in report and report.count("too few to measure") == 1
    assert "Mean of 2 cameras" in report and report.count("<table>") == 3
    assert not (tmp_path / "workers_1" / ".work").exists()


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_bag(tmp_path / "bag", scene_images(2))
    out = ["--output", str(tmp_path / "out")]
    for arguments, message in (
        ([str(tmp_path / "absent")], "no such bag"),
        ([str(path), "--topic", "/rear"], "none of /rear is there; topics are: /camera/image_raw"),
        ([str(path), "--every", "0"], "--every 0"),
        ([str(path), "--model", "nothing"], "no checkpoint for model 'nothing'"),
    ):
        assert main(["evaluate", "bag", *arguments, *out]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out" / "report.html").exists()


def test_a_frozen_stamp_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = scene_images(30)
    with BagWriter(tmp_path / "bag") as bag:
        for index, image in enumerate(images):
            bag.write(CAMERA, image, "bgr8", START, "lens", time=START + index * PERIOD)
            bag.write("/camera/aligned_depth_to_color", np.zeros((16, 20), np.uint16), "16UC1", START, "lens")
    model = str(small_network(tmp_path))
    command = ["evaluate", "bag", str(tmp_path / "bag"), "--output", str(tmp_path / "out"), "--model", model, *SMALL]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "topic /camera/aligned_depth_to_color is left out: '16UC1' is depth" in said
    assert f"topic {CAMERA}: 29 of 30 frames have the stamp of the frame before and are left out" in said
    assert "1 frames are too few to measure" in said
    assert "29 of 30 frames have the stamp" in (tmp_path / "out" / "report.html").read_text()


def test_no_line_over_a_gap_of_the_bag() -> None:
    def lines(curve: list[float | None]) -> int:
        drawn = curves({"seconds": [0.0, 24.0], "methods": {"ours": {"psnr": {"curve": curve}}}}, "psnr", "dB")
        assert drawn is not None
        (path,) = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: #1ba3b8', drawn)
        return path.count("M")

    whole = [30.0 + index % 3 for index in range(240)]
    assert lines(whole) == 1 == lines([value if index % 4 == 0 else None for index, value in enumerate(whole)])
    assert lines([None if 80 < index < 160 else value for index, value in enumerate(whole)]) == 2


def test_the_verdict_compares_moving_pixels_and_time() -> None:
    def figures(psnr: float, moving: float, latency: float) -> dict[str, dict[str, float]]:
        return {"psnr": {"mean": psnr}, "psnr_moving": {"mean": moving}, "latency_ms": {"p50": latency}}

    methods = {"ours": figures(30, 25.5, 27), "DIS medium": figures(31, 24.5, 10), "copy last": figures(28, 26.0, 0.0)}
    assert verdict(methods, ["ours"]) == [
        "ours predicts moving pixels 1.00 dB better than DIS medium and 0.50 dB worse than copying the last frame; it "
        "takes 2.7 times the time of DIS medium."
    ]
    del methods["DIS medium"], methods["ours"]["psnr_moving"]
    assert verdict(methods, ["ours"]) == ["ours predicts all pixels 2.00 dB better than copying the last frame."]
    assert verdict({}, ["ours"]) == []


def test_methods_keep_their_colours() -> None:
    names = ("mine", "stvae-rt-m", "DIS medium", "Farneback", "copy last")
    colors = method_colors(names)
    assert len(set(colors.values())) == 5 and method_colors(("mine", *names[:0:-1])) == colors


def test_running_figures_need_no_more_room_for_more_frames() -> None:
    values = np.random.default_rng(0).uniform(20, 40, 5000)
    running = Running("psnr")
    for index, value in enumerate([*values, float("nan")]):
        running.add(float(value), index / 5000)
    summary = running.summary()
    assert summary["mean"] == approx(values.mean()) and summary["count"] == 5000
    assert (summary["min"], summary["max"]) == (values.min(), values.max())
    assert summary["p50"] == approx(np.median(values), abs=0.1) and summary["p5"] == approx(
        np.percentile(values, 5), abs=0.1
    )
    assert len(summary["curve"]) == 240 and sum(summary["histogram"]) == 5000


@pytest.mark.skipif(find_spec("rclpy") is None, reason="needs rclpy")
def test_the_same_bits_as_the_node(tmp_path: Path) -> None:
    from robot import Robot

    path = write_bag(tmp_path / "bag", scene_images(8), jpeg=True)
    options = BagOptions(("stvae-rt-s",), processing_size=(96, 64), threads=1, video=0)
    evaluate_stream(Stream(str(path), f"{CAMERA}/compressed", "out"), options, tmp_path / "out")
    names = ("flow", "prediction", "surprise", "flow_color", "decoded")
    with Robot() as robot:
        for name in names:
            robot.listen(f"/perception/{name}")
        robot.start_perception(
            model="stvae-rt-s", queue="all", processing_size="[96, 64]", image_transport="compressed"
        )
        from sensor_msgs.msg import CompressedImage

        for message in Bag(path).messages([f"{CAMERA}/compressed"]):
            sent = CompressedImage(format=message.message.format)
            sent.header.stamp.sec, sent.header.stamp.nanosec = divmod(message.stamp, 10**9)
            sent.header.frame_id = message.frame_id
            sent.data.frombytes(message.message.data.tobytes())
            robot.publish(sent, "image/compressed")
        robot.wait_for(lambda: all(len(robot.messages[f"/perception/{n}"]) == 8 - (n == "surprise") for n in names))
        outputs = Bag(tmp_path / "out" / "outputs")
        for name in names:
            expected = list(outputs.messages([f"/perception/{name}"]))
            received = robot.messages[f"/perception/{name}"]
            for mine, theirs in zip(expected, received, strict=True):
                assert (mine.message.encoding, mine.message.width) == (theirs.encoding, theirs.width)
                stamp = theirs.header.stamp.sec * 10**9 + theirs.header.stamp.nanosec
                assert (mine.stamp, mine.frame_id) == (stamp, theirs.header.frame_id)
                assert mine.message.data.tobytes() == theirs.data.tobytes(), f"{name} differs at {stamp}"
            if name == "flow":
                assert np.abs(floats_to_array(expected[-1].message)).max() > 0.5


@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install ray")
def test_ray_changes_nothing(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", scene_images(6))
    command = ["evaluate", "bag", str(path), *SMALL, "--model", "stvae-rt-s", "--outputs"]
    assert main([*command, "--output", str(tmp_path / "here")]) == 0
    assert main([*command, "--output", str(tmp_path / "ray"), "--ray", "local"]) == 0
    here, there = (untimed(tmp_path / name / "metrics.csv") for name in ("here", "ray"))
    assert here == there and len(here) > 0


def test_an_interrupted_run_leaves_no_report_and_goes_on(tmp_path: Path) -> None:
    bags = [write_bag(tmp_path / name, scene_images(count, 1)) for name, count in (("short", 4), ("long", 60))]
    output = tmp_path / "out"
    command = [sys.executable, "-m", "stvae_ros.cli.main", "evaluate", "bag", *map(str, bags), *SMALL]
    command += ["--model", str(small_network(tmp_path)), "--outputs", "flow", "--output", str(output)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    work, end = output / ".work", time.monotonic() + 120
    while not list(work.glob("short*/summary.json")) or not list(work.glob("long*/progress")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and b"interrupted" in errors and b"Traceback" not in errors, errors.decode()
    assert [path.name for path in output.iterdir()] == [".work"]
    timed = [row["latency_ms"] for row in rows(next(work.glob("short*/rows.csv")))]
    assert main(command[3:]) == 0
    metrics = rows(output / "metrics.csv")
    assert [row["latency_ms"] for row in metrics if row["bag"] == str(bags[0])] == timed, "not done again"
    assert {row["bag"] for row in metrics} == set(map(str, bags)) and (output / "report.html").is_file()
