"""Evaluation of one camera topic of one bag: every frame through the predictor of the robot, results in a folder."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import resource
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import torch

from stvae_ros.checkpoint import model_hash, open_frame_model, open_model
from stvae_ros.data.bags.bag import Bag, BagError
from stvae_ros.data.bags.clips import bag_identity
from stvae_ros.data.bags.writer import BagWriter
from stvae_ros.evaluation.bags.frames import BagFrame, bag_frames, truth_topics
from stvae_ros.evaluation.bags.labels import BagLabels
from stvae_ros.evaluation.bags.methods import HORIZONS, Method, Ours, bag_references
from stvae_ros.evaluation.bags.pictures import Clip, WorstMoments
from stvae_ros.evaluation.bags.scores import COLUMNS, Row, StreamScores
from stvae_ros.resources import share_directory
from stvae_ros.streaming import StreamingPredictor
from stvae_ros.streaming.camera_events import CameraEvents
from stvae_ros.streaming.labels import LabelPropagator
from stvae_ros.streaming.outputs import OUTPUTS, CameraState, make
from stvae_ros.visualization.label_colors import ClassTable

ROWS, SUMMARY, VIDEO, OUTPUT_BAG = "rows.csv", "summary.json", "video.webm", "outputs"
KEYS = ("bag", "topic", "frame", "stamp", "seconds", "method")
_SMALLEST = 16


@dataclass(frozen=True)
class Stream:
    """A camera topic of a bag. name: of its folder. prefix: of the topics that are written, as "/perception"."""

    bag: str
    topic: str
    name: str
    prefix: str = "/perception"


@dataclass(frozen=True)
class BagOptions:
    """How to evaluate.

    models: weights, the first of which makes the outputs. start, duration: in seconds of the bag; duration None is to
    its end. every: frames that are measured; all are shown. outputs: names of topics to write. video: seconds of the
    video in the report. label_interval: see `BagLabels`. threads: of PyTorch and OpenCV, for figures that do not depend
    on how many streams run side by side.
    """

    models: tuple[str, ...]
    device: str = "auto"
    precision: str = "auto"
    processing_size: tuple[int, int] | None = None
    max_gap: float = 1.0
    start: float = 0.0
    duration: float | None = None
    every: int = 1
    outputs: tuple[str, ...] = tuple(output.name for output in OUTPUTS)
    storage: str = "mcap"
    flow_topic: str | None = None
    labels_topic: str | None = None
    label_interval: float = 1.0
    label_classes: str | None = None
    video: float = 10.0
    threads: int = 2


def evaluation_key(stream: Stream, options: BagOptions) -> str:
    """Changes with whatever changes the results: the bag, the weights, the options."""
    hashes = [model_hash(open_model(model)) for model in options.models]
    text = json.dumps([asdict(stream), asdict(options), hashes, bag_identity(Bag(stream.bag))])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def is_done(stream: Stream, options: BagOptions, folder: Path) -> bool:
    """Whether the folder has the results of just this evaluation."""
    try:
        return bool(json.loads((folder / SUMMARY).read_text())["key"] == evaluation_key(stream, options))
    except (OSError, ValueError, KeyError):
        return False


def evaluate_stream(stream: Stream, options: BagOptions, folder: Path) -> None:
    """Evaluate into ``folder``, which is emptied first; `SUMMARY` is written last, so with it all is complete.

    Raises BagError and other ValueErrors for a bag or options that cannot be used.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    run = _Run(stream, options, folder)
    summary = run.evaluate()
    part = folder / f"{SUMMARY}.part"
    part.write_text(json.dumps({"key": evaluation_key(stream, options), **summary}))
    part.rename(folder / SUMMARY)


class _Run:
    def __init__(self, stream: Stream, options: BagOptions, folder: Path) -> None:
        self.stream, self.options, self.folder = stream, options, folder
        self.bag = Bag(stream.bag)
        self.truth = truth_topics(self.bag, stream.topic, options.flow_topic, options.labels_topic)
        self.start = self.bag.start + round(options.start * 1e9)
        end = math.inf if options.duration is None else self.start + round(options.duration * 1e9)
        self.stop = int(min(end, self.bag.end + 1))
        if self.start >= self.stop:
            length = (self.bag.end - self.bag.start) / 1e9
            raise BagError(f"{stream.bag}: nothing is left after {options.start} s: the bag is {length:.1f} s long")
        self.ours = {Path(model).stem if model.endswith(".safetensors") else model: model for model in options.models}
        if len(self.ours) < len(options.models):
            self.ours = {model: model for model in options.models}
        self.methods: dict[str, Method] = {}
        for name, model in self.ours.items():
            predictor = StreamingPredictor.from_weights(
                open_frame_model(model),
                options.processing_size,
                device=options.device,
                precision=options.precision,
                max_gap=options.max_gap,
            )
            predictor.warm_up()
            self.methods[name] = Ours(predictor)
        self.methods |= bag_references()
        first = next(iter(self.ours))
        self.first, self.lead = first, self.methods[first]
        self.scores = StreamScores(list(self.methods))
        self.labels = None if self.truth.labels is None else BagLabels(first, options.label_interval)
        self.wanted = [output for output in OUTPUTS if output.name in options.outputs]
        table = options.label_classes or share_directory() / "config" / "labels.yaml"
        self.classes = ClassTable.load(table)
        self.worst = WorstMoments(folder, first)
        self.clip = Clip(folder / VIDEO, options.video)
        self.events, self.state = CameraEvents(), CameraState(LabelPropagator())
        self.resets: Counter[str] = Counter()
        self.repeated = self.frames = 0

    def evaluate(self) -> dict[str, Any]:
        with (self.folder / ROWS).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow([*KEYS, *COLUMNS])
            if self.wanted:
                with BagWriter(self.folder / OUTPUT_BAG, self.options.storage, compress=True) as outputs:  # type: ignore[arg-type]
                    self._show_all(rows.writerow, outputs)
            else:
                self._show_all(rows.writerow, None)
        self.clip.close()
        if self.frames == 0:
            what = "; ".join(self.bag.problems) or "there are no frames in this time"
            raise BagError(f"{self.stream.bag}: topic {self.stream.topic}: nothing to evaluate: {what}")
        return self._summary()

    def _show_all(self, write_row: Callable[[list[Any]], Any], outputs: BagWriter | None) -> None:
        frames = bag_frames(self.bag, self.stream.topic, self.truth, self.start, self.stop)
        for frame in frames:
            if min(frame.image.shape[:2]) < _SMALLEST:
                height, width = frame.image.shape[:2]
                where = f"{self.stream.bag}: topic {self.stream.topic}"
                raise BagError(f"{where}: frames of {width}x{height} are too small; at least {_SMALLEST} pixels")
            rows = self._show(frame, outputs)
            share = (frame.time - self.start) / (self.stop - self.start)
            self.scores.count(rows, share)
            key = [self.stream.bag, self.stream.topic, self.frames - 1, frame.stamp]
            for method, row in rows.items():
                figures = [_text(row.get(column)) for column in COLUMNS]
                write_row([*key, f"{(frame.time - self.bag.start) / 1e9:.6f}", method, *figures])
            if self.frames % 10 == 0:
                (self.folder / "progress").write_text(f"{share:.4f}")

    def _show(self, frame: BagFrame, outputs: BagWriter | None) -> dict[str, Row]:
        every = self.options.every
        steps = [step for step in HORIZONS if (self.frames + step) % every == 0]
        forecasts = {}
        for name, method in self.methods.items():
            if isinstance(method, Ours):
                forecasts[name] = method.show(frame, steps)
        assert isinstance(self.lead, Ours)
        motion = self.lead.motion
        if motion is None:
            self.repeated += 1
            return {}
        if motion.reset is not None:
            self.resets[motion.reset] += 1
            self.scores.reset()
            for method in self.methods.values():
                method.reset()
        for name, method in self.methods.items():
            if not isinstance(method, Ours):
                forecasts[name] = method.show(frame, steps)
        rows = self.scores.compare(frame) if self.frames % every == 0 else {}
        if self.labels is not None:
            for name, row in self.labels.show(frame, motion).items():
                rows[name] = rows.get(name, {}) | row
        self._draw(frame, rows)
        if outputs is not None:
            propagator = LabelPropagator() if self.labels is None else self.labels.propagator
            self.state.propagator = propagator
            context = self.state.advance(motion, self.wanted, self.classes, self.events)
            for made in make(context, self.wanted):
                topic = f"{self.stream.prefix}/{made.name}"
                outputs.write(topic, made.array, made.encoding, made.stamp, frame.frame_id, time=frame.time)
        self.scores.add(frame, forecasts)
        self.frames += 1
        return rows

    def _draw(self, frame: BagFrame, rows: dict[str, Row]) -> None:
        assert isinstance(self.lead, Ours) and self.lead.motion is not None
        seconds = (frame.time - self.bag.start) / 1e9
        self.clip.add(self.lead.motion, seconds)
        value = rows.get(self.first, {}).get("psnr")
        if value is not None and self.scores.last is not None:
            forecast = self.scores.forecast(self.first)
            assert forecast is not None
            self.worst.offer(value, seconds, self.scores.last.image, frame.image, forecast)

    def _summary(self) -> dict[str, Any]:
        assert isinstance(self.lead, Ours)
        predictor = self.lead.predictor
        summary = self.scores.summary()
        if self.labels is not None:
            for name, figures in self.labels.summary().items():
                for column, value in figures.items():
                    summary[name][column] = summary[name].get(column, {}) | {"mean": value}
        last = self.scores.last
        assert last is not None
        return {
            "bag": self.stream.bag,
            "topic": self.stream.topic,
            "name": self.stream.name,
            "seconds": [(self.start - self.bag.start) / 1e9, (self.stop - self.bag.start) / 1e9],
            "frames": self.frames,
            "size": [last.image.shape[1], last.image.shape[0]],
            "repeated": self.repeated,
            "resets": dict(self.resets),
            "labels refused": 0 if self.labels is None else self.labels.refused,
            "problems": self.bag.problems,
            "truth": self.truth._asdict(),
            "ours": list(self.ours),
            "device": str(predictor.device),
            "precision": predictor.precision,
            "processing_size": list(predictor.processing_size),
            "threads": self.options.threads,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "methods": summary,
            "worst": self.worst.close(),
            "video": self.clip.frames > 0,
        }


def _text(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}"
