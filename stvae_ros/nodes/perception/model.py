"""The network of the node: loading it, and exchanging it while the node is active."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import torch
from rclpy.logging import get_logger

from stvae_ros.checkpoint import Checkpoint, find, model_hash, open_model
from stvae_ros.events.images import EventImage
from stvae_ros.events.simulator import EventModel
from stvae_ros.nodes.perception.event_input import PACKETS, CameraInput, check_event_source
from stvae_ros.runtime.device import automatic_threads
from stvae_ros.streaming import StreamingPredictor
from stvae_ros.streaming.segmentation import StreamingSegmenter

T = TypeVar("T")

SWAPPABLE = ("model", "device", "precision", "backend", "onnx_provider")
"""Parameters that choose the network. They may change while the node is active."""


class ActiveNetwork:
    """A network and all that belongs to it. The node exchanges it as a whole, between two frames.

    Attributes:
        predictor: runs the network.
        values: the parameters `SWAPPABLE` that it was loaded with, by name.
        description: for the log and for /diagnostics.
        event_image: the input of the network if it sees events, else None.
        takes_packets: whether its input is made of the packets of event cameras.
        event_model: of the simulated event camera. It is set before the first frame.
    """

    def __init__(
        self,
        predictor: StreamingPredictor,
        values: Mapping[str, Any],
        description: Mapping[str, object],
        event_image: EventImage | None,
    ) -> None:
        self.predictor, self.description, self.event_image = predictor, description, event_image
        self.values = {name: values[name] for name in SWAPPABLE}
        self._source = values["event_source"]
        self.takes_packets = event_image is not None and self._source == PACKETS
        self.event_model = EventModel()
        self._inputs: dict[str, CameraInput] = {}

    @property
    def summary(self) -> str:
        """What the log says of it."""
        shown = self.description
        return f"{shown['weights']}, {shown['device']}, {shown['precision']}, {shown['processing size']}"

    def input_of(self, camera: str) -> CameraInput:
        """How this network sees a camera."""
        if camera not in self._inputs:
            self._inputs[camera] = CameraInput(self.event_image, self._source, self.event_model)
        return self._inputs[camera]


def event_model(values: Mapping[str, Any]) -> EventModel:
    """The event camera model of the parameters theta_on and theta_off."""
    return EventModel(theta_on=float(values["theta_on"]), theta_off=float(values["theta_off"]))


def thread_count(values: Mapping[str, Any]) -> int:
    """Number of CPU threads of the network, from the node's parameters by name."""
    return int(values["num_threads"]) or automatic_threads()


def load(values: Mapping[str, Any]) -> ActiveNetwork:
    """Load the network that the node's parameters choose. `StreamingPredictor.warm_up` is left to the caller.

    Args:
        values: all parameters of the node by name.

    Raises:
        ValueError: the model, the device, the precision or a size cannot be used.
        OSError: a file cannot be read.
        RuntimeError: the device has no memory left.
    """
    size = tuple(values["processing_size"])
    model = open_model(values["model"])
    event_image = EventImage.of_weights(model.metadata) if isinstance(model, Checkpoint) else None
    check_event_source(values["event_source"], event_image)
    options = {name: values[name] for name in (*SWAPPABLE[1:], "cache_folder", "max_gap", "horizon")}
    log = get_logger("perception").info
    predictor = StreamingPredictor.from_weights(model, None if size == (0, 0) else size, log=log, **options)
    width, height = predictor.processing_size
    path = model.path if isinstance(model, Checkpoint) else model
    description = {
        "model": predictor.model,
        "weights": f"{path.name} sha256:{model_hash(model)}",
        "backend": predictor.backend,
        "device": predictor.device,
        "precision": predictor.precision,
        "why this precision": predictor.precision_reason,
        "processing size": f"{width}x{height}",
        "threads": thread_count(values),
        "cores": len(os.sched_getaffinity(0)),
        **({"events from": values["event_source"]} if event_image is not None else {}),
        **({"segmenter": values["segmenter"]} if values["segmenter"] else {}),
    }
    return ActiveNetwork(predictor, values, description, event_image)


def load_segmenter(values: Mapping[str, Any]) -> StreamingSegmenter | None:
    """Load the segmenter that the node's parameters choose, if they choose one. Raises as `load` does."""
    if not values["segmenter"]:
        return None
    options = {"device": values["device"], "precision": values["precision"], "every": values["segmenter_every"]}
    try:
        return StreamingSegmenter.from_weights(Checkpoint.open(find(values["segmenter"])), **options)
    except ValueError as error:
        raise ValueError(f"segmenter = {values['segmenter']!r}: {error}") from error


def warm_up(network: ActiveNetwork) -> ActiveNetwork:
    """Warm up the predictor of a network and return the network."""
    network.predictor.warm_up()
    return network


class NetworkSwap:
    """Loads another network at once, and warms it up in the background.

    One network warms up at a time. Of the networks asked for meanwhile, only the last one is warmed up.
    All methods are called on the executor's thread.

    Args:
        ready: called on the background thread when `take` has a result.
    """

    def __init__(self, ready: Callable[[], object]) -> None:
        self._ready = ready
        self._loaded: ActiveNetwork | None = None
        self._next: ActiveNetwork | None = None
        self._warming: Future[ActiveNetwork] | None = None

    @property
    def in_progress(self) -> bool:
        """Whether a network is warming up."""
        return self._warming is not None

    def load(self, values: Mapping[str, Any], active: ActiveNetwork) -> None:
        """Load the network that the parameters choose, unless it is the active one. Raises as `load` does."""
        differs = any(values[name] != value for name, value in active.values.items())
        # A thread that ends takes its OpenMP threads with it.
        self._loaded = in_thread(lambda: load(values), thread_count(values)).result() if differs else None

    def start(self) -> None:
        """Warm up the loaded network, now that the parameters are set. If none is loaded, the active one stays."""
        self._next, self._loaded = self._loaded, None
        if self._next is None:
            self.cancel()
        elif self._warming is None:
            self._warm_up_next()

    def take(self) -> tuple[ActiveNetwork | None, str]:
        """The network that is ready, if there is one, and the reason if it failed."""
        if self._warming is None or not self._warming.done():
            return None, ""
        done, self._warming = self._warming, None
        if self._next is not None:
            self._warm_up_next()
            return None, ""
        error = done.exception()
        return (done.result(), "") if error is None else (None, str(error))

    def cancel(self) -> None:
        """Forget all networks."""
        self._loaded = self._next = self._warming = None

    def _warm_up_next(self) -> None:
        network, self._next = self._next, None
        assert network is not None
        # One thread, so that the active network keeps the other cores.
        warming = self._warming = in_thread(lambda: warm_up(network), threads=1)
        warming.add_done_callback(lambda _: self._ready())


def in_thread(task: Callable[[], T], threads: int) -> Future[T]:
    """Run ``task``, which uses PyTorch on ``threads`` CPU threads, in a thread that ends with the task.

    OpenMP keeps a pool of threads for each thread that has used several. With more of them than cores the network
    takes twice as long. The pool ends with the thread that it belongs to.
    """
    future: Future[T] = Future()

    def run() -> None:
        torch.set_num_threads(threads)
        try:
            result = task()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="loading", daemon=True).start()
    return future


def free_memory() -> None:
    """Return memory that networks have left to the GPU and to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim_memory()


def trim_memory() -> None:
    """Return to the system what has been freed, which takes a few ms. Each thread that loads leaves some behind."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)
