"""The thread that converts, predicts and publishes all frames."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from rclpy.clock import Clock
from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import CompressedImage, Image

from stvae_ros.data.image_sizes import check_size
from stvae_ros.nodes.conversion import RAISE_LIMIT, ImageError, compressed_to_array, image_to_array, to_nanoseconds
from stvae_ros.nodes.perception.camera import Camera, Waiting
from stvae_ros.nodes.perception.model import ActiveNetwork
from stvae_ros.streaming import Frame, FrameError, StepResult
from stvae_ros.streaming.segmentation import StreamingSegmenter

_OUT_OF_MEMORY_LIMIT = 3
"""Consecutive out-of-memory errors after which the device counts as failed. Before that, frames are dropped."""

Deliver = Callable[[Camera, ActiveNetwork, StepResult, Image | CompressedImage], float]


class _Taken(NamedTuple):
    """A frame that is being processed."""

    camera: Camera
    item: Waiting
    frame: Frame


class Inference:
    """Processes the waiting frames of all cameras until it is stopped, one camera in turn or several as one batch.

    `reset` and `exchange` may be called from any thread.

    Args:
        clock: of the node.
        logger: of the node.
        deliver: called on this thread with a camera, the network, the result of a frame and its message. It publishes
            the outputs and returns the seconds that this took.
        failed: called on this thread with the reason when the device has failed. The thread then ends.
    """

    def __init__(self, clock: Clock, logger: RcutilsLogger, deliver: Deliver, failed: Callable[[str], object]) -> None:
        self.wake = threading.Condition()
        """Notified when a frame waits in a camera."""
        self._clock, self._logger = clock, logger
        self._deliver, self._failed = deliver, failed
        self._lock = threading.Lock()
        self._active: ActiveNetwork | None = None
        self.segmenter: StreamingSegmenter | None = None
        """Labels frames while no frame waits. It must not be changed while the thread runs."""
        self._thread: threading.Thread | None = None
        self._running = False
        self._max_pixels = 0
        self._out_of_memory = 0

    @property
    def active(self) -> ActiveNetwork | None:
        """The network in use; None while the node is not configured."""
        return self._active

    def exchange(self, network: ActiveNetwork | None) -> None:
        """Use another network, from the next frame on. The cameras stay, with empty memories."""
        with self._lock:
            if network is not None and self._active is not None:
                network.predictor.continue_from(self._active.predictor, "network changed")
            self._active = network

    def start(self, cameras: Iterable[Camera], threads: int, max_pixels: int) -> None:
        """Start the thread.

        Args:
            cameras: to serve.
            threads: CPU threads of the network.
            max_pixels: larger images are dropped.
        """
        self._running = True
        self._max_pixels = max_pixels
        arguments = (list(cameras), threads)
        self._thread = threading.Thread(target=self._run, args=arguments, name="inference", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its present frame, if it runs, and empty all memories."""
        with self.wake:
            self._running = False
            self.wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._out_of_memory = 0
        if self.segmenter is not None:
            self.segmenter.clear()
        self.reset("deactivated")

    def reset(self, reason: str, camera: str | None = None) -> int:
        """Empty the memory of one camera, or of all. Returns the number of cameras that had one before."""
        with self._lock:
            if self._active is None:
                return 0
            count = len(self._active.predictor.cameras)
            self._active.predictor.reset(camera, reason)
            return count

    def _run(self, cameras: list[Camera], threads: int) -> None:
        # OpenMP keeps a number of threads for each calling thread: it must be set in this one.
        torch.set_num_threads(threads)
        while True:
            with self.wake:
                self.wake.wait_for(
                    lambda: (
                        not self._running
                        or any(camera.waiting for camera in cameras)
                        or (self.segmenter is not None and self.segmenter.busy)
                    )
                )
                if not self._running:
                    return
                batch = [(camera, camera.waiting.popleft()) for camera in self._next(cameras)]
            if not batch:
                self._segment(cameras)
                continue
            unfinished = {camera.name: camera for camera, _ in batch}
            try:
                self._process(batch, unfinished)
            except torch.OutOfMemoryError as error:
                self._drop(unfinished, "out of memory", f"the device has no room for a frame: {_first_line(error)}")
                if self._out_of_memory == _OUT_OF_MEMORY_LIMIT:
                    self._failed(f"out of memory in {_OUT_OF_MEMORY_LIMIT} consecutive frames: {_first_line(error)}")
                    return
            except torch.AcceleratorError as error:
                self._drop(unfinished, "device lost", f"the device failed: {_first_line(error)}")
                self._failed(f"the device failed: {_first_line(error)}")
                return
            except Exception:  # A fault in one frame never ends the node. It is counted and logged with its traceback.
                self._drop(unfinished, "internal error", "a frame failed inside the node: see its log")
                self._logger.error(traceback.format_exc(), throttle_duration_sec=5.0)
            else:
                self._out_of_memory = 0

    def _next(self, cameras: list[Camera]) -> list[Camera]:
        """All cameras with a waiting frame if batches are faster, else the camera that has waited longest."""
        waiting = [camera for camera in cameras if camera.waiting]
        if not waiting or (self._active is not None and self._active.predictor.is_faster_in_batches):
            return waiting
        return [min(waiting, key=lambda camera: camera.waiting[0].since)]

    def _drop(self, cameras: dict[str, Camera], reason: str, problem: str) -> None:
        for camera in cameras.values():
            camera.reject(reason, problem)
        if reason == "out of memory":
            self._logger.warning(problem, throttle_duration_sec=5.0)
            self._out_of_memory += 1
            self.reset(reason)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _process(self, batch: list[tuple[Camera, Waiting]], unfinished: dict[str, Camera]) -> None:
        """Process a batch. Removes a camera from ``unfinished`` when its frame is counted as processed or dropped."""
        start = time.monotonic()
        # The frames are prepared for the network that steps them: both happen under one lock.
        with self._lock:
            active = self._active
            assert active is not None
            taken = self._prepare(active, batch, unfinished)
            if not taken:
                return
            converted = time.monotonic()
            motions = active.predictor.step({name: each.frame for name, each in taken.items()})
            network = active.predictor.network_seconds
        for name, motion in motions.items():
            camera, item, frame = taken[name]
            if motion is None:
                camera.reject(
                    "repeated stamp",
                    f"frames with the same stamp {frame.stamp} ns are dropped: the camera driver must give each frame "
                    "its own stamp, and only one node may publish the topic",
                )
                del unfinished[name]
                continue
            if self.segmenter is not None:
                if motion.reset:
                    self.segmenter.reset(name)
                self.segmenter.take({name: frame})
            publish = self._deliver(camera, active, motion, item.message)
            now = time.monotonic()
            camera.count_processed(motion.stamp, motion.reset)
            camera.frame_period = motion.period
            del unfinished[name]
            camera.budget.spent(now, item.since)
            camera.rate_out.add(now)
            if to_nanoseconds(item.message.header.stamp):
                camera.latency.add((self._clock.now().nanoseconds - motion.stamp) / 1e6)
            stages = {
                "wait": start - item.arrival,
                "convert": converted - start,
                "network": network,
                "publish": publish,
                "added": now - item.arrival - network,
            }
            for stage, seconds in stages.items():
                camera.stages[stage].add(seconds * 1e3)

    def _prepare(
        self, active: ActiveNetwork, batch: list[tuple[Camera, Waiting]], unfinished: dict[str, Camera]
    ) -> dict[str, _Taken]:
        """The usable frames of a batch by camera. The others are counted and removed from ``unfinished``."""
        taken: dict[str, _Taken] = {}
        for camera, item in batch:
            if item.made_for not in (None, active):
                camera.drops["network changed"] += 1
                del unfinished[camera.name]
                continue
            try:
                taken[camera.name] = _Taken(camera, item, self._to_frame(active, camera, item))
            except (ImageError, FrameError) as error:
                reason = error.reason if isinstance(error, ImageError) else "not usable"
                camera.reject(reason, str(error))
                camera.frame_dropped(item.message)
                del unfinished[camera.name]
                self._logger.warning(f"{camera.image_topic}: {error}", throttle_duration_sec=5.0)
        return taken

    def _segment(self, cameras: list[Camera]) -> None:
        """Do one piece of the segmenter's work."""
        assert self.segmenter is not None
        try:
            found = self.segmenter.work()
        except Exception:  # As for frames: the node continues without these labels.
            self._logger.error(traceback.format_exc(), throttle_duration_sec=5.0)
            return
        if found is None:
            return
        camera = next(camera for camera in cameras if camera.name == found.camera)
        problem = camera.labels.add(found.labels, found.stamp)
        if problem:
            self._logger.warning(f"{camera.topic('labels')}: {problem}", throttle_duration_sec=5.0)

    def _to_frame(self, active: ActiveNetwork, camera: Camera, item: Waiting) -> Frame:
        message = item.message
        check_size(message, self._max_pixels, RAISE_LIMIT)

        def warn(problem: str) -> None:
            camera.complain(problem)
            self._logger.warning(f"{camera.image_topic}: {problem}", throttle_duration_sec=5.0)

        if isinstance(message, CompressedImage):
            image = compressed_to_array(message, camera.depth, warn)
        else:
            image = image_to_array(message, camera.depth)
        if camera.depth.problem is not None:
            warn(camera.depth.problem)
        stamp = to_nanoseconds(message.header.stamp)
        if stamp == 0:  # Not of the clock of ROS: simulated time may stand still, or be slower than the camera.
            stamp = time.time_ns() - round((time.monotonic() - item.arrival) * 1e9)
            camera.unstamped, camera.unstamped_time = camera.unstamped + 1, item.arrival
        return Frame(active.input_of(camera.name).prepare(image, stamp), stamp)


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
