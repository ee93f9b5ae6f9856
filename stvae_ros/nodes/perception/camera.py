"""One camera of the perception node: its waiting frames and its counts."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from sensor_msgs.msg import CompressedImage, Image

from stvae_ros.nodes.diagnostics.frame_budget import Budget
from stvae_ros.nodes.diagnostics.statistics import Rate, Timings
from stvae_ros.nodes.perception.camera_detections import CameraDetections
from stvae_ros.nodes.perception.camera_labels import CameraLabels
from stvae_ros.streaming.outputs import CameraState

STAGES = ("wait", "convert", "network", "publish", "added")
"""Stages of a frame in the node. "added" is the time from arrival to the last output, without the network."""


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
    last_problem: str = ""
    problem_topic: str = ""
    problem_time: float = float("-inf")
    last_arrival: float = float("-inf")
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
                    return
                since = self.waiting.popleft().since
            self.waiting.append(Waiting(message, now, since, made_for))
            self.wake.notify()

    def ignore(self, reason: str) -> None:
        """Count a frame that came and is not used."""
        with self.wake:
            self.received += 1
            self.drops[reason] += 1

    def forget(self, reason: str) -> None:
        """Drop and count the waiting frames."""
        with self.wake:
            self.drops[reason] += len(self.waiting)
            self.waiting.clear()
        self.labels.clear()
        self.detections.clear()

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
