"""The thread on which all frames are converted, predicted and published."""

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
from stvae_ros.streaming import Frame, FrameError, StepResult, StreamingPredictor
from stvae_ros.streaming.segmentation import StreamingSegmenter

_OUT_OF_MEMORY_LIMIT = 3
"""So many frames on end without room are a fault of the device; fewer are dropped, and memory is freed."""

Deliver = Callable[[Camera, StepResult, Image | CompressedImage], float]


class _Taken(NamedTuple):
    """A frame on its way through the network."""

    camera: Camera
    item: Waiting
    frame: Frame


class Inference:
    """Takes what waits in the cameras until it is stopped: one frame of each, in turn or as one batch.

    deliver: called on the thread with a camera, the motion of its frame, and the message that it came from; advances
    the labels and publishes, and returns the seconds that publishing took.
    failed: called on the thread, which then ends, when the device cannot go on; with the reason.
    `reset` and `predictor` may be used from any thread.
    """

    def __init__(self, clock: Clock, logger: RcutilsLogger, deliver: Deliver, failed: Callable[[str], object]) -> None:
        self.wake = threading.Condition()
        """Notified by whoever gives a camera something to wait."""
        self._clock, self._logger = clock, logger
        self._deliver, self._failed = deliver, failed
        self._lock = threading.Lock()
        self._predictor: StreamingPredictor | None = None
        self.segmenter: StreamingSegmenter | None = None
        """Labels frames while no frame waits; not to be changed while the thread runs."""
        self._thread: threading.Thread | None = None
        self._running = False
        self._max_pixels = 0
        self._out_of_memory = 0

    @property
    def predictor(self) -> StreamingPredictor | None:
        """The network in use and its memories; None while the node is not configured."""
        return self._predictor

    @predictor.setter
    def predictor(self, predictor: StreamingPredictor | None) -> None:
        with self._lock:
            if predictor is not None and self._predictor is not None:
                predictor.continue_from(self._predictor, "network changed")
            self._predictor = predictor

    def start(self, cameras: Iterable[Camera], threads: int, max_pixels: int) -> None:
        """Serve these cameras, the network on so many CPU threads; images of more than ``max_pixels`` are dropped."""
        self._running = True
        self._max_pixels = max_pixels
        arguments = (list(cameras), threads)
        self._thread = threading.Thread(target=self._run, args=arguments, name="inference", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the frame at hand and empty all memories; nothing happens if it does not run."""
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

    def reset(self, reason: str) -> int:
        """Empty the memory of all cameras; returns how many had one."""
        with self._lock:
            if self._predictor is None:
                return 0
            count = len(self._predictor.cameras)
            self._predictor.reset(reason=reason)
            return count

    def _run(self, cameras: list[Camera], threads: int) -> None:
        # OpenMP keeps the number of threads for each thread that calls it: it must be set in this one.
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
                    self._failed(f"out of memory in {_OUT_OF_MEMORY_LIMIT} frames on end: {_first_line(error)}")
                    return
            except torch.AcceleratorError as error:
                self._drop(unfinished, "device lost", f"the device failed: {_first_line(error)}")
                self._failed(f"the device failed: {_first_line(error)}")
                return
            except Exception:  # The node outlives any fault in one frame; it is counted and logged with its trace.
                self._drop(unfinished, "internal error", "a frame failed inside the node: see its log")
                self._logger.error(traceback.format_exc(), throttle_duration_sec=5.0)
            else:
                self._out_of_memory = 0

    def _next(self, cameras: list[Camera]) -> list[Camera]:
        """All cameras with a frame where batches are faster; else the one that has waited longest."""
        waiting = [camera for camera in cameras if camera.waiting]
        if not waiting or (self._predictor is not None and self._predictor.is_faster_in_batches):
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
        """Takes cameras out of ``unfinished`` once their frame is counted as processed or dropped."""
        start = time.monotonic()
        taken: dict[str, _Taken] = {}
        for camera, item in batch:
            try:
                taken[camera.name] = _Taken(camera, item, self._to_frame(camera, item))
            except (ImageError, FrameError) as error:
                reason = error.reason if isinstance(error, ImageError) else "not usable"
                camera.reject(reason, str(error))
                del unfinished[camera.name]
                self._logger.warning(f"{camera.topic('image')}: {error}", throttle_duration_sec=5.0)
        if not taken:
            return
        converted = time.monotonic()
        with self._lock:
            assert self._predictor is not None
            motions = self._predictor.step({name: each.frame for name, each in taken.items()})
            network = self._predictor.network_seconds
        for name, motion in motions.items():
            camera, item, frame = taken[name]
            if motion is None:
                camera.reject("repeated stamp", f"frames with the same stamp {frame.stamp} ns are dropped")
                del unfinished[name]
                continue
            if motion.reset:
                camera.resets[motion.reset] += 1
            if self.segmenter is not None:
                if motion.reset:
                    self.segmenter.reset(name)
                self.segmenter.offer({name: frame})
            publish = self._deliver(camera, motion, item.message)
            now = time.monotonic()
            camera.processed += 1
            del unfinished[name]
            camera.budget.spent(now, item.since)
            camera.rate_out.add(now)
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

    def _segment(self, cameras: list[Camera]) -> None:
        """One piece of the segmenter's work."""
        assert self.segmenter is not None
        try:
            found = self.segmenter.work()
        except Exception:  # As for frames: the node goes on without these labels.
            self._logger.error(traceback.format_exc(), throttle_duration_sec=5.0)
            return
        if found is None:
            return
        camera = next(camera for camera in cameras if camera.name == found.camera)
        problem = camera.labels.add(found.labels, found.stamp)
        if problem:
            self._logger.warning(f"{camera.topic('labels')}: {problem}", throttle_duration_sec=5.0)

    def _to_frame(self, camera: Camera, item: Waiting) -> Frame:
        message = item.message
        check_size(message, self._max_pixels, RAISE_LIMIT)
        image = compressed_to_array(message) if isinstance(message, CompressedImage) else image_to_array(message)
        stamp = to_nanoseconds(message.header.stamp)
        if stamp == 0:  # A driver that does not stamp its images: when it came is the best there is.
            stamp = self._clock.now().nanoseconds
        return Frame(image if camera.adapt is None else camera.adapt(image, stamp), stamp)


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
