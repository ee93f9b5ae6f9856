"""Records a camera and the outputs of the perception node as a video, pictures and figures."""

from __future__ import annotations

import json
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sensor_msgs.msg import Image

from stvae_ros.evaluation.core.metrics import end_point_error, moving_pixels, psnr
from stvae_ros.files import replaced
from stvae_ros.nodes.conversion import image_to_array, to_nanoseconds
from stvae_ros.nodes.startup import ros
from stvae_ros.nodes.stopping import Stop
from stvae_ros.resources import share_directory
from stvae_ros.visualization.event_colors import NONE, events_to_color
from stvae_ros.visualization.film import Film
from stvae_ros.visualization.label_colors import ClassTable
from stvae_ros.visualization.panels import as_bgr, grid, overlay

_REMEMBERED = 64
_PANEL_WIDTH = 320
_MOVING_WIDTH = 480
_STRIP_ROWS = 3
_BRIGHTER = 4
_MOST_FPS = 60.0
_REPORT_SECONDS = 5.0
"""Time between two lines of progress where there is no terminal, as under ros2 launch."""
_SCORES = ("psnr", "psnr_copy", "psnr_moving", "psnr_copy_moving", "epe", "epe_zero")

Array = NDArray[Any]
_Kept = TypeVar("_Kept")


class _Comparison(NamedTuple):
    """A prediction, the frame that came, and the PSNR in dB of the prediction and of copying."""

    prediction: Array
    truth: Array
    psnr: float
    psnr_copy: float


class DemoRecorder(Node):
    """Subscribes to `image`, the outputs of the node under `perception/` and `ground_truth/flow`.

    It writes demo.webm, demo.png (three frames of it) and metrics.json into the folder `output`. `finished` is done
    after `frames` images, or when the camera has ended. The film shows the input, its prediction, the errors of copying
    and of the prediction, flow, surprise and confidence. If `segmentation` has a publisher, it also shows the last
    labels and the propagated labels. With `input` events, it shows events, predicted events, surprise events and the
    motion mask, and compares the predicted events with the later ones.
    """

    def __init__(self) -> None:
        super().__init__("demo_recorder")
        self._output = Path(self._declare("output", "demo", "Folder for the video, the pictures and the figures."))
        self._frames = int(self._declare("frames", 300, "Stop after this many images; 0 stops when the camera ends."))
        self._title = str(self._declare("title", "", "Name of the source, for the report."))
        self._patience = float(self._declare("patience", 120.0, "Seconds to wait for the first image."))
        self._events = self._declare("input", "frames", "What to draw: frames or events.") == "events"
        scene = share_directory() / "config" / "labels-scene.yaml"
        self._classes = ClassTable.load(self._declare("label_classes", str(scene), "YAML file with classes of labels."))
        self._perception = self.resolve_topic_name("perception").lstrip("/")
        self.finished = Future()
        self.problem: str | None = None
        self._images: OrderedDict[int, Array] = OrderedDict()
        self._truths: OrderedDict[int, Array] = OrderedDict() if self._events else self._images
        self._pending: OrderedDict[int, dict[str, Array]] = OrderedDict()
        self._predictions: OrderedDict[int, Array] = OrderedDict()
        self._confidences: OrderedDict[int, Array] = OrderedDict()
        self._true_flows: OrderedDict[int, Array] = OrderedDict()
        self._flows: OrderedDict[int, Array] = OrderedDict()
        self._comparisons: OrderedDict[int, _Comparison] = OrderedDict()
        self._flow_stamps: deque[int] = deque(maxlen=9)
        self._counts = {"image": 0, "flow": 0, "prediction": 0}
        self._latencies: list[float] = []
        self._scores: dict[str, list[float]] = {name: [] for name in _SCORES}
        self._node_values: dict[str, str] = {}
        self._process_values: dict[str, str] = {}
        self._film = Film(_PANEL_WIDTH)
        self._film_stamps: list[int] = []
        self._columns = 1
        self._given_labels: Array | None = None
        self._has_labels = self._has_confidence = False
        self._started = self._last_image = time.monotonic()
        self._diagnostics_after_end = 0
        camera_qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(Image, "image", self._on_image, camera_qos)
        self._listen(f"perception/{'predicted_events' if self._events else 'prediction'}", self._on_prediction)
        self._listen("perception/flow", self._on_flow)
        if self._events:
            self._listen("perception/events", self._on_events)
            self._listen("perception/surprise_events_color", lambda message: self._on_panel("surprise", message))
            self._listen("perception/motion_mask", lambda message: self._on_panel("moving", message))
        else:
            self._listen("perception/surprise", lambda message: self._on_panel("surprise", message))
            self._listen("perception/confidence", self._on_confidence)
        self._listen("ground_truth/flow", self._on_true_flow)
        self._listen("segmentation", self._on_given_labels)
        self._listen("perception/labels_color", lambda message: self._on_panel("labels", message))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.create_timer(0.5, self._on_timer)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._reported = time.monotonic()
        self._task = self._progress.add_task("frames", total=self._frames or None, note="waiting for the camera")
        self._progress.start()

    def _declare(self, name: str, default: Any, description: str) -> Any:
        return self.declare_parameter(name, default, ParameterDescriptor(description=description)).value

    def _listen(self, topic: str, callback: Callable[[Image], None]) -> None:
        self.create_subscription(Image, topic, callback, QoSProfile(depth=30))

    # Callbacks

    def _on_image(self, message: Image) -> None:
        if self._frames and self._counts["image"] >= self._frames:
            return
        self._counts["image"] += 1
        self._last_image = time.monotonic()
        stamp = to_nanoseconds(message.header.stamp)
        _remember(self._images, stamp, image_to_array(message))
        self._score_predictions()
        note = f"PSNR {np.mean(self._scores['psnr']):.1f} dB" if self._scores["psnr"] else ""
        self._progress.update(self._task, completed=self._counts["image"], note=note)

    def _on_events(self, message: Image) -> None:
        _remember(self._truths, to_nanoseconds(message.header.stamp), image_to_array(message))
        self._score_predictions()

    def _on_prediction(self, message: Image) -> None:
        self._counts["prediction"] += 1
        stamp = to_nanoseconds(message.header.stamp)
        _remember(self._predictions, stamp, image_to_array(message))
        self._score_predictions()

    def _on_flow(self, message: Image) -> None:
        self._counts["flow"] += 1
        stamp = to_nanoseconds(message.header.stamp)
        self._latencies.append((self.get_clock().now().nanoseconds - stamp) / 1e6)
        self._flow_stamps.append(stamp)
        flow = _float_image(message)
        _remember(self._flows, stamp, flow)
        self._score_flow(stamp)
        self._score_predictions()
        self._add_part("flow", stamp, flow)

    def _on_true_flow(self, message: Image) -> None:
        stamp = to_nanoseconds(message.header.stamp)
        _remember(self._true_flows, stamp, _float_image(message))
        self._score_flow(stamp)

    def _on_panel(self, name: str, message: Image) -> None:
        stamp = to_nanoseconds(message.header.stamp)
        array = image_to_array(message) if message.encoding in ("bgr8", "mono8") else _float_image(message)[..., 0]
        self._add_part(name, stamp, array)

    def _add_part(self, name: str, stamp: int, array: Array) -> None:
        self._pending.setdefault(stamp, {})[name] = array
        self._draw_complete()
        while len(self._pending) > _REMEMBERED:
            self._pending.popitem(last=False)

    def _on_confidence(self, message: Image) -> None:
        _remember(self._confidences, to_nanoseconds(message.header.stamp), _float_image(message)[..., 0])

    def _draw_complete(self) -> None:
        """Draw the frames whose prediction has been compared, and whose outputs are complete.

        They are complete when an output of a later frame has come.
        """
        for stamp in sorted(self._pending.keys() & self._comparisons.keys()):
            if stamp < max(self._pending):
                parts = self._pending.pop(stamp)
                if {"flow", "surprise"} <= parts.keys() and stamp in self._images:
                    self._draw(stamp, parts)

    def _on_given_labels(self, message: Image) -> None:
        self._given_labels = self._classes.draw(image_to_array(message))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{self._perception}: camera":
                self._node_values = {pair.key: pair.value for pair in status.values}
            elif status.name == f"{self._perception}: process":
                self._process_values = {pair.key: pair.value for pair in status.values}
                if status.level == status.ERROR:
                    self._finish(f"the perception node reports: {status.message}")
        if self._has_ended():
            self._diagnostics_after_end += 1

    def _on_timer(self) -> None:
        if not self._progress.console.is_terminal and time.monotonic() - self._reported >= _REPORT_SECONDS:
            self._reported = time.monotonic()
            total = f" of {self._frames}" if self._frames else ""
            note = self._progress.tasks[0].fields["note"]
            self.get_logger().info(f"{self._counts['image']}{total} frames, {note}")
        if self._counts["image"] == 0 and time.monotonic() - self._started > self._patience:
            self._finish(f"no image came on {self.resolve_topic_name('image')} in {self._patience:g} s")
        elif self._has_ended() and self._diagnostics_after_end >= 2:
            self._finish(None)

    def _has_ended(self) -> bool:
        enough = bool(self._frames) and self._counts["image"] >= self._frames
        silent = time.monotonic() - self._last_image
        gone = self._counts["image"] > 0 and silent > 2.0 and self.count_publishers("image") == 0
        return enough or gone or (self._counts["image"] > 0 and silent > 20.0)

    def _finish(self, problem: str | None) -> None:
        if not self.finished.done():
            self.problem = problem
            self.finished.set_result(None)

    # Scores and pictures

    def _score_predictions(self) -> None:
        """Compare each prediction, and its source frame, with the image closest to the prediction's stamp.

        A prediction waits until an image as late as its stamp has come, and the flow of its source. The source is the
        frame whose flow was published one frame period before that stamp, so that dropped frames affect both
        comparisons alike.
        """
        stamps = list(self._truths)
        for stamp, prediction in list(self._predictions.items()):
            if not stamps or stamps[-1] < stamp:
                continue
            period = int(np.median(np.diff(self._flow_stamps))) if len(self._flow_stamps) > 1 else 0
            if period and self._flow_stamps[-1] < stamp - 1.5 * period:
                continue
            del self._predictions[stamp]
            earlier = [s for s in self._flow_stamps if s < stamp]
            if not period or not earlier:
                continue
            source = min(earlier, key=lambda s: abs(stamp - period - s))
            target = min(stamps, key=lambda s: abs(stamp - s))
            if source >= target or source not in self._truths:
                continue
            truth, before = self._truths[target], self._truths[source]
            if truth.shape == prediction.shape == before.shape:
                _remember(self._comparisons, source, self._compare(prediction, truth, before))
        self._draw_complete()

    def _compare(self, prediction: Array, truth: Array, before: Array) -> _Comparison:
        compared = _Comparison(prediction, truth, psnr(prediction, truth), psnr(before, truth))
        self._scores["psnr"].append(compared.psnr)
        self._scores["psnr_copy"].append(compared.psnr_copy)
        if not self._events:
            moving = _moving(truth, before)
            if moving.any():
                self._scores["psnr_moving"].append(psnr(prediction, truth, moving))
                self._scores["psnr_copy_moving"].append(psnr(before, truth, moving))
        return compared

    def _score_flow(self, stamp: int) -> None:
        if stamp in self._flows and stamp in self._true_flows:
            flow, truth = self._flows.pop(stamp), self._true_flows.pop(stamp)
            shown, seen = (max((s for s in past if s < stamp), default=0) for past in (self._images, self._flow_stamps))
            if shown != seen:  # The frame before was dropped, and the flow is over a longer time than the true flow.
                return
            self._scores["epe"].append(end_point_error(flow, truth))
            self._scores["epe_zero"].append(end_point_error(np.zeros_like(truth), truth))

    def _draw(self, stamp: int, parts: dict[str, Array]) -> None:
        image, compared = self._images[stamp], self._comparisons[stamp]
        if self._film.length == 0:
            self._has_labels = not self._events and self.count_publishers("segmentation") > 0
            self._has_confidence = bool(self._confidences)
        if self._events:
            panels = {"input": image, "events": _colored(self._truths.get(stamp, compared.truth))}
            panels |= {"predicted events": _colored(compared.prediction), "surprise events": parts["surprise"]}
            moving = parts.get("moving", np.zeros(image.shape[:2], np.uint8))
            panels |= {"flow": parts["flow"], "moves by itself": overlay(image, as_bgr(moving))}
        else:
            panels = {"input": image, "prediction of the next": compared.prediction}
            for what, picture, figure in (
                ("copying", image, compared.psnr_copy),
                ("prediction", compared.prediction, compared.psnr),
            ):
                panels[f"error of {what} x{_BRIGHTER}: {figure:.1f} dB"] = _BRIGHTER * _error(picture, compared.truth)
            panels |= {"flow": parts["flow"], f"surprise x{_BRIGHTER}": _BRIGHTER * parts["surprise"]}
            if self._has_confidence:  # Like the prediction, it is for a later frame.
                later = [s for s in self._confidences if s > stamp]
                panels["confidence"] = self._confidences[later[0] if later else max(self._confidences)]
        if self._has_labels:
            panels["labels that came last"] = overlay(image, self._given_labels)
            panels["labels"] = overlay(image, parts.get("labels"))
        self._columns = 3 if len(panels) % 3 == 0 else 4
        self._film.add(panels)
        self._film_stamps.append(stamp)

    def summary(self) -> dict[str, Any]:
        """The figures of the run; None where nothing was measured."""
        means = {name: float(np.mean(values)) if values else None for name, values in self._scores.items()}
        drops = {k.removeprefix("drops: "): int(v) for k, v in self._node_values.items() if k.startswith("drops: ")}
        return {
            "source": self._title,
            "frames_in": int(self._node_values.get("frames received", 0)),
            "frames_out": self._counts["flow"],
            "frames_seen_by_recorder": self._counts["image"],
            "drops": sum(drops.values()),
            "drops_by_reason": drops,
            "latency_median_ms": float(np.median(self._latencies)) if self._latencies else None,
            "latency_99_ms": float(np.percentile(self._latencies, 99)) if self._latencies else None,
            "psnr_prediction_moving_db": means["psnr_moving"],
            "psnr_copy_moving_db": means["psnr_copy_moving"],
            "psnr_prediction_db": means["psnr"],
            "psnr_copy_db": means["psnr_copy"],
            "end_point_error_px": means["epe"],
            "end_point_error_of_no_flow_px": means["epe_zero"],
            "model": self._process_values.get("model"),
            "device": self._process_values.get("device"),
            "precision": self._process_values.get("precision"),
            "processing_size": self._process_values.get("processing size"),
        }

    def close(self) -> None:
        """Finish the video, write pictures and figures, and print the table."""
        self._progress.stop()
        if self.problem is None and not self._latencies:
            self.problem = (
                f"no flow came on {self.resolve_topic_name('perception/flow')}: is the perception node running?"
            )
        if self.problem is None and self._film.length == 0:
            self.problem = (
                f"the node kept up with {self._counts['flow']} of {self._counts['image']} frames, which is too few to "
                "show: lower the rate"
            )
        if self.problem is not None:
            return
        summary = self.summary()
        with replaced(self._output / "metrics.json") as part:
            part.write_text(json.dumps(summary, indent=2) + "\n")
        _print_table(summary, self._output)
        length = self._film.length
        shown = {length * (row + 1) // (_STRIP_ROWS + 1) for row in range(_STRIP_ROWS)}
        strips = [
            grid(panels, len(panels), _PANEL_WIDTH)
            for index, panels in enumerate(self._film.frames())
            if index in shown
        ]
        with replaced(self._output / "demo.png") as part:
            cv2.imwrite(str(part), np.vstack(strips))
        period = float(np.median(np.diff(self._film_stamps))) if length > 1 else 1e9
        self._film.write(self._output / "demo.webm", min(1e9 / period, _MOST_FPS), self._columns)


def _remember(store: OrderedDict[int, _Kept], stamp: int, item: _Kept) -> None:
    store[stamp] = item
    while len(store) > _REMEMBERED:
        store.popitem(last=False)


def _error(picture: Array, truth: Array) -> Array:
    """Mean absolute difference (H, W) in [0, 1], in the size of a panel."""
    size = (_PANEL_WIDTH, round(_PANEL_WIDTH * truth.shape[0] / truth.shape[1]))
    difference = cv2.resize(cv2.absdiff(picture, truth), size, interpolation=cv2.INTER_AREA)
    return difference.reshape(size[1], size[0], -1).mean(axis=2) / 255


def _moving(truth: Array, before: Array) -> NDArray[np.bool_]:
    """`moving_pixels`, measured on images that are at most `_MOVING_WIDTH` wide, so that the recorder keeps up."""
    height, width = truth.shape[:2]
    if width <= _MOVING_WIDTH:
        return moving_pixels(truth, before)
    size = (_MOVING_WIDTH, round(_MOVING_WIDTH * height / width))
    small = (np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) for image in (truth, before))
    moving = moving_pixels(*small).astype(np.uint8)
    return np.asarray(cv2.resize(moving, (width, height), interpolation=cv2.INTER_NEAREST), np.bool_)


def _colored(events: Array) -> Array:
    return events_to_color(events.astype(np.int16) - NONE)


def _float_image(message: Image) -> Array:
    """A 32FC1 or 32FC2 message as (H, W, C) float32."""
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width, -1)


def _print_table(summary: dict[str, Any], output: Path) -> None:
    def figure(value: float | None, unit: str) -> str:
        return "-" if value is None else f"{value:.2f} {unit}"

    rows = {
        "frames in / out / dropped": f"{summary['frames_in']} / {summary['frames_out']} / {summary['drops']}",
        "latency, median": figure(summary["latency_median_ms"], "ms"),
        "latency, 99th percentile": figure(summary["latency_99_ms"], "ms"),
        "PSNR of the prediction, moving pixels": figure(summary["psnr_prediction_moving_db"], "dB"),
        "PSNR of copying the last frame, moving pixels": figure(summary["psnr_copy_moving_db"], "dB"),
        "PSNR of the prediction": figure(summary["psnr_prediction_db"], "dB"),
        "PSNR of copying the last frame": figure(summary["psnr_copy_db"], "dB"),
    }
    if summary["end_point_error_px"] is not None:
        rows["end-point error of the flow"] = figure(summary["end_point_error_px"], "px")
        rows["end-point error of no flow"] = figure(summary["end_point_error_of_no_flow_px"], "px")
    rows["network"] = f"{summary['model']} at {summary['processing_size']}, {summary['device']}, {summary['precision']}"
    rows["written to"] = ", ".join(str(output / name) for name in ("demo.webm", "demo.png", "metrics.json"))
    table = Table(title=summary["source"] or None, show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    Console(width=100).print(table)


def main() -> None:
    """Record until the camera is done; exit with 1 and a message if nothing came."""
    with Stop() as stop, ros("demo_recorder"):
        recorder = DemoRecorder()
        try:
            stop.spin(recorder, recorder.finished)
        finally:
            recorder.close()
            problem = recorder.problem if recorder.finished.done() else None
            recorder.destroy_node()
    if problem is not None:
        print(f"demo: {problem}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
