"""Evaluation of one camera topic of a bag: every frame goes through the robot's predictor; results go to a folder."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import resource
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
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
from stvae_ros.evaluation.bags.pictures import Clip, WorstMoments
from stvae_ros.evaluation.bags.scores import COLUMNS, HORIZONS, Row, StreamScores
from stvae_ros.evaluation.core.loop import Sample, Shown, show
from stvae_ros.evaluation.core.methods import Forecast, Network, Predict, Reference, references
from stvae_ros.evaluation.core.metrics import SMALLEST
from stvae_ros.files import replaced
from stvae_ros.resources import share_directory
from stvae_ros.streaming import StreamingPredictor
from stvae_ros.streaming.camera_events import CameraEvents
from stvae_ros.streaming.labels import LabelPropagator
from stvae_ros.streaming.outputs import OUTPUTS, CameraState, make
from stvae_ros.visualization.label_colors import ClassTable

ROWS, SUMMARY, VIDEO, OUTPUT_BAG = "rows.csv", "summary.json", "video.webm", "outputs"
KEYS = ("bag", "topic", "frame", "stamp", "seconds", "method")
_REFERENCES = ("copy last", "DIS medium", "Farneback")


@dataclass(frozen=True)
class Stream:
    """A camera topic of a bag.

    Args:
        bag: path of the bag.
        topic: the camera's topic.
        name: of the folder of results.
        prefix: namespace of the output topics.
    """

    bag: str
    topic: str
    name: str
    prefix: str = "/perception"


@dataclass(frozen=True)
class BagOptions:
    """Options of an evaluation.

    Args:
        models: checkpoints; the first one makes the outputs.
        device: see `StreamingPredictor`.
        precision: see `StreamingPredictor`.
        processing_size: (width, height), None for each checkpoint's own.
        max_gap: longest time in seconds between two frames that keeps the memory.
        significant_bits: number of bits that 16-bit images use, see `BitDepth`.
        start: seconds from the start of the bag to leave out.
        duration: seconds to evaluate, None to the end of the bag.
        every: measure every n-th frame; the methods see all frames.
        outputs: names of the outputs to write.
        storage: of the bag of outputs, "mcap" or "sqlite3".
        flow_topic: see `truth_topics`.
        labels_topic: see `truth_topics`.
        label_interval: see `BagLabels`.
        label_classes: path of a YAML table of classes, None for the shipped one.
        video: seconds of the video in the report.
        threads: of PyTorch and OpenCV. The last digits of figures depend on it, but not on the number of workers.
    """

    models: tuple[str, ...]
    device: str = "auto"
    precision: str = "auto"
    processing_size: tuple[int, int] | None = None
    max_gap: float = 1.0
    significant_bits: int = 16
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
    """A hash of everything that the results depend on: bag, checkpoints, options."""
    hashes = [model_hash(open_model(model)) for model in options.models]
    text = json.dumps([asdict(stream), asdict(options), hashes, bag_identity(Bag(stream.bag))])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def is_done(stream: Stream, options: BagOptions, folder: Path) -> bool:
    """Whether the folder has the results of this evaluation."""
    try:
        return bool(json.loads((folder / SUMMARY).read_text())["key"] == evaluation_key(stream, options))
    except (OSError, ValueError, KeyError):
        return False


def evaluate_stream(stream: Stream, options: BagOptions, folder: Path) -> None:
    """Evaluate one stream. The results are complete once `SUMMARY` is there.

    Args:
        stream: the stream.
        options: the options.
        folder: for the results; it is emptied first.

    Raises:
        ValueError: the bag (BagError) or the options cannot be used.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    run = _Run(stream, options, folder)
    summary = run.evaluate()
    with replaced(folder / SUMMARY) as part:
        part.write_text(json.dumps({"key": evaluation_key(stream, options), **summary}))


def _after(network: Network, reference: Reference) -> Predict:
    """A reference that forgets its frames when the memory of a network was reset, which sees each frame before it."""

    def predict(sample: Sample) -> Forecast:
        if network.result.reset is not None:
            reference.reset()
        return reference(sample)

    return predict


class _Run:
    """The evaluation of one stream."""

    def __init__(self, stream: Stream, options: BagOptions, folder: Path) -> None:
        self.stream, self.options, self.folder = stream, options, folder
        self.bag = Bag(stream.bag, options.significant_bits)
        self.truth = truth_topics(self.bag, stream.topic, options.flow_topic, options.labels_topic)
        self.start = self.bag.start + round(options.start * 1e9)
        end = math.inf if options.duration is None else self.start + round(options.duration * 1e9)
        self.stop = int(min(end, self.bag.end + 1))
        if self.start >= self.stop:
            length = (self.bag.end - self.bag.start) / 1e9
            raise BagError(f"{stream.bag}: nothing is left after {options.start} s: the bag is {length:.1f} s long")
        names = [Path(model).stem if model.endswith(".safetensors") else model for model in options.models]
        self.networks = dict(zip(names if len(set(names)) == len(names) else options.models, self._load(), strict=True))
        self.first, self.lead = next(iter(self.networks.items()))
        self.methods: dict[str, Predict] = dict(self.networks)
        self.methods |= {name: _after(self.lead, references()[name]) for name in _REFERENCES}
        self.scores = StreamScores(list(self.methods))
        self.labels = None if self.truth.labels is None else BagLabels(self.first, options.label_interval)
        self.wanted = [output for output in OUTPUTS if output.name in options.outputs]
        self.classes = ClassTable.load(options.label_classes or share_directory() / "config" / "labels.yaml")
        self.worst = WorstMoments(folder, self.first)
        self.clip = Clip(folder / VIDEO, options.video)
        self.events, self.state = (
            CameraEvents(),
            CameraState(LabelPropagator() if self.labels is None else self.labels.propagator),
        )
        self.resets: Counter[str] = Counter()
        self.repeated = self.frames = 0
        self.size = [0, 0]

    def _load(self) -> Iterator[Network]:
        options = self.options
        for model in options.models:
            predictor = StreamingPredictor.from_weights(
                open_frame_model(model),
                options.processing_size,
                device=options.device,
                precision=options.precision,
                max_gap=options.max_gap,
            )
            yield Network(predictor)

    def evaluate(self) -> dict[str, Any]:
        """Evaluate all frames and return the summary."""
        with (self.folder / ROWS).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow([*KEYS, *COLUMNS])
            if self.wanted:
                with BagWriter(self.folder / OUTPUT_BAG, self.options.storage, compress=True) as outputs:  # type: ignore[arg-type]
                    self._evaluate_frames(rows.writerow, outputs)
            else:
                self._evaluate_frames(rows.writerow, None)
        self.clip.close()
        if self.frames == 0:
            seconds = [(time - self.bag.start) / 1e9 for time in (self.start, self.stop, self.bag.end)]
            there = "there is no message from {:.1f} s to {:.1f} s of a bag of {:.1f} s".format(*seconds)
            what = "; ".join(self.bag.problems) or there
            raise BagError(f"{self.stream.bag}: topic {self.stream.topic}: nothing to evaluate: {what}")
        return self._summary()

    def _losses(self) -> Iterator[str]:
        """Sentences about frames and memories that were lost by their stamps, with the remedy."""
        where = f"{self.stream.bag}: topic {self.stream.topic}"
        if self.repeated:
            yield (
                f"{where}: {self.repeated} of {self.frames + self.repeated} frames have the stamp of the frame before "
                "and are left out, as in the node: the camera driver must give each frame its own stamp"
            )
        causes = {
            "gap": f"gaps of more than {self.options.max_gap:g} s: raise --max-gap",
            "time jumped back": "stamps that go back: the frames are not in the order of their stamps",
            "resolution changed": "changes of the image size or of the number of channels",
        }
        for reason, cause in causes.items():
            if count := self.resets[reason]:
                yield f"{where}: the memory was emptied before {count} of {self.frames} frames by {cause}"

    def _samples(self) -> Iterator[BagFrame]:
        """The frames of the stream, without those that repeat a stamp; a node drops them, too."""
        last: int | None = None
        index = 0
        for frame in bag_frames(self.bag, self.stream.topic, self.truth, self.start, self.stop):
            height, width = frame.image.shape[:2]
            if min(height, width) < SMALLEST:
                where = f"{self.stream.bag}: topic {self.stream.topic}"
                raise BagError(f"{where}: frames of {width}x{height} are too small; at least {SMALLEST} pixels")
            if frame.stamp == last:
                self.repeated += 1
                continue
            ahead = [step for step in HORIZONS if (index + step) % self.options.every == 0]
            last, index = frame.stamp, index + 1
            yield replace(frame, ahead=ahead)

    def _evaluate_frames(self, write_row: Callable[[list[Any]], Any], outputs: BagWriter | None) -> None:
        for shown in show(self._samples(), self.methods):
            frame = shown.sample
            rows = self._evaluate_frame(shown)
            if outputs is not None:
                self._write_outputs(frame, outputs)
            share = (frame.time - self.start) / (self.stop - self.start)
            self.scores.count(rows, share)
            key = [self.stream.bag, self.stream.topic, shown.index, frame.stamp]
            for method, row in rows.items():
                figures = [_text(row.get(column)) for column in COLUMNS]
                write_row([*key, f"{(frame.time - self.bag.start) / 1e9:.6f}", method, *figures])
            self.frames, self.size = shown.index + 1, [frame.image.shape[1], frame.image.shape[0]]
            if self.frames % 10 == 0:
                (self.folder / "progress").write_text(f"{share:.4f}")

    def _evaluate_frame(self, shown: Shown[BagFrame, Forecast]) -> dict[str, Row]:
        frame, result = shown.sample, self.lead.result
        if result.reset is not None:
            self.resets[result.reset] += 1
            self.scores.reset()
        rows = self.scores.compare(frame) if shown.index % self.options.every == 0 else {}
        if self.labels is not None:
            for name, row in self.labels.show(frame, result).items():
                rows[name] = rows.get(name, {}) | row
        seconds = (frame.time - self.bag.start) / 1e9
        self.clip.add(result, seconds)
        figures = {name: row["psnr"] for name, row in rows.items() if "psnr" in row}
        if self.first in figures and self.scores.last is not None:
            self.worst.offer(figures, seconds, self.scores.last.image, frame.image, self.scores.forecasts)
        self.scores.add(shown)
        return rows

    def _write_outputs(self, frame: BagFrame, outputs: BagWriter) -> None:
        context = self.state.advance(self.lead.result, self.wanted, self.classes, self.events)
        for made in make(context, self.wanted):
            topic = f"{self.stream.prefix}/{made.name}"
            outputs.write(topic, made.array, made.encoding, made.stamp, frame.frame_id, time=frame.time)

    def _summary(self) -> dict[str, Any]:
        predictor = self.lead.predictor
        summary = self.scores.summary()
        if self.labels is not None:
            for name, figures in self.labels.summary().items():
                for column, value in figures.items():
                    summary[name][column] = summary[name].get(column, {}) | {"mean": value}
        return {
            "bag": self.stream.bag,
            "topic": self.stream.topic,
            "name": self.stream.name,
            "seconds": [(self.start - self.bag.start) / 1e9, (self.stop - self.bag.start) / 1e9],
            "frames": self.frames,
            "size": self.size,
            "repeated": self.repeated,
            "resets": dict(self.resets),
            "labels refused": 0 if self.labels is None else self.labels.refused,
            "problems": self.bag.problems,
            "losses": list(self._losses()),
            "truth": self.truth._asdict(),
            "ours": list(self.networks),
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
