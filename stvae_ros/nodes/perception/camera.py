"""One camera of the perception node: its waiting frames and its counts."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from stvae_ros.data.image_messages import BitDepth
from stvae_ros.nodes.conversion import to_nanoseconds
from stvae_ros.nodes.diagnostics.frame_budget import Budget
from stvae_ros.nodes.diagnostics.statistics import Rate, Timings
from stvae_ros.nodes.perception.camera_detections import CameraDetections
from stvae_ros.nodes.perception.camera_labels import CameraLabels
from stvae_ros.streaming.outputs import CameraState

STAGES = ("wait", "convert", "network", "publish", "added")
"""Stages of a frame in the node. "added" is the time from arrival to the last output, without the network."""
_RECENT = 100


@dataclass(frozen=True)
class Waiting:
    """A waiting message, and its arrival in seconds of the monotonic clock."""

    message: Image | CompressedImage
    arrival: float
    since: float
    """Arrival of the first message that this one has overtaken, or its own: the camera has waited since then."""
    made_for: object = None
    """The network whose input it is; None for any network."""


@dataclass
class Camera:
    """Waiting frames and counts of one camera. One thread writes each count, and diagnostics read it."""

    name: str
    limit: int
    wake: threading.Condition
    labels: CameraLabels
    keep_newest: bool = False
    """At the limit, drop the oldest frame instead of the new one."""
    detections: CameraDetections = field(default_factory=CameraDetections)
    state: CameraState = field(init=False)
    received: int = 0
    processed: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    packets: int = 0
    """Messages of an event camera, from which the frames are made."""
    packet_drops: Counter[str] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=_RECENT))
    """For each of the last processed frames, why the memory was empty before it; "" if it was not."""
    step: float = 0.0
    """Seconds between the stamps of the last two frames before the last reset."""
    last_stamp: int | None = None
    reset_time: float = float("-inf")
    unstamped: int = 0
    unstamped_time: float = float("-inf")
    """Arrival of the last frame without a stamp."""
    last_problem: str = ""
    problem_topic: str = ""
    problem_time: float = float("-inf")
    last_arrival: float = float("-inf")
    last_wanted: float = float("-inf")
    """When its outputs were last wanted, in seconds of the monotonic clock. Only the parameter lazy uses it."""
    is_asleep: bool = False
    """Whether its images are unsubscribed because of the parameter lazy."""
    image_topic: str = ""
    """Full name of the topic of its images; empty before the first subscription."""
    depth: BitDepth = field(default_factory=BitDepth)
    info: CameraInfo | None = None
    """The newest camera_info of the driver."""
    frame_period: int = 0
    """Expected time to the next frame in nanoseconds, as `StepResult.period`; 0 before the first frame."""
    lost: int = 0
    """Messages that the middleware has lost, by its own count."""
    budget: Budget = field(default_factory=Budget)
    rate_in: Rate = field(default_factory=Rate)
    rate_out: Rate = field(default_factory=Rate)
    latency: Timings = field(default_factory=Timings)
    stages: dict[str, Timings] = field(default_factory=lambda: {stage: Timings() for stage in STAGES})
    waiting: deque[Waiting] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.state = CameraState(self.labels.propagator)

    def topic(self, name: str) -> str:
        """``name`` under this camera's namespace."""
        return f"{self.name}/{name}" if self.name else name

    def put(self, message: Image | CompressedImage, made_for: object = None) -> None:
        """Queue a message and wake the inference thread. At the limit one frame is dropped and counted.

        made_for: see `Waiting`.
        """
        now = since = time.monotonic()
        with self.wake:
            self.received += 1
            self.last_arrival = now
            self.rate_in.add(now)
            self.budget.arrived(now)
            if len(self.waiting) >= self.limit:
                self.drops["overtaken" if self.keep_newest else "queue full"] += 1
                if not self.keep_newest:
                    self.frame_dropped(message)
                    return
                oldest = self.waiting.popleft()
                since = oldest.since
                self.frame_dropped(oldest.message)
            self.waiting.append(Waiting(message, now, since, made_for))
            self.wake.notify()

    def ignore(self, reason: str) -> None:
        """Count a frame that came and is not used."""
        with self.wake:
            self.received += 1
            self.drops[reason] += 1

    def frame_dropped(self, message: Image | CompressedImage) -> None:
        """Remember a frame that is not processed, whose labels or detections may come."""
        stamp = to_nanoseconds(message.header.stamp)
        self.labels.frame_dropped(stamp)
        self.detections.frame_dropped(stamp)

    def wake_up(self) -> None:
        """Note that its images are subscribed from now on. It counts as silent some time later only."""
        self.last_wanted = time.monotonic()
        if self.is_asleep:
            self.is_asleep, self.last_arrival = False, self.last_wanted

    def forget(self, reason: str) -> None:
        """Drop and count the waiting frames, and forget labels and detections. The inference thread must not run."""
        self.drop_waiting(reason)
        self.is_asleep = False
        self.labels.clear()
        self.detections.clear()

    def drop_waiting(self, reason: str) -> None:
        """Drop and count the waiting frames."""
        with self.wake:
            self.drops[reason] += len(self.waiting)
            self.waiting.clear()

    def count_processed(self, stamp: int, reset: str | None) -> None:
        """Count a processed frame, and the reset before it, if there was one."""
        self.processed += 1
        self.recent.append(reset or "")
        if reset:
            self.resets[reset] += 1
            self.reset_time = time.monotonic()
            self.step = 0.0 if self.last_stamp is None else (stamp - self.last_stamp) / 1e9
        self.last_stamp = stamp

    def reject(self, reason: str, problem: str) -> None:
        """Count a frame that could not be processed."""
        self.drops[reason] += 1
        self.complain(problem)

    def reject_packet(self, reason: str, problem: str) -> None:
        """Count a packet of events that could not be used."""
        self.packet_drops[reason] += 1
        self.complain(problem)

    def complain(self, problem: str, topic: str = "") -> None:
        """Let /diagnostics warn of a problem for some seconds. ``topic`` is empty for the topic of the images."""
        self.last_problem, self.problem_topic, self.problem_time = problem, topic, time.monotonic()
