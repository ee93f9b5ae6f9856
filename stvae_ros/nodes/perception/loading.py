"""From the node's parameters to a network that is ready for its first frame."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

import torch
from rclpy.logging import get_logger

from stvae_ros import zoo
from stvae_ros.events.images import EventImage
from stvae_ros.nodes.perception.event_input import check_event_source
from stvae_ros.runtime.device import automatic_threads
from stvae_ros.streaming import StreamingPredictor
from stvae_ros.streaming.recorder import record_aside
from stvae_ros.streaming.segmentation import StreamingSegmenter

T = TypeVar("T")

SWAPPABLE = ("model", "device", "precision", "backend", "onnx_provider")
"""Parameters that choose a network, and may do so while the node is at work."""


class Loaded(NamedTuple):
    """A predictor, what to say of it in the log and in /diagnostics, and what it sees."""

    predictor: StreamingPredictor
    description: dict[str, object]
    events: EventImage | None
    """What the network sees, if it sees events."""


def thread_count(values: Mapping[str, Any]) -> int:
    """CPU threads of the network, from parameters by name."""
    return int(values["num_threads"]) or automatic_threads()


def prepare(values: Mapping[str, Any]) -> Loaded:
    """Load what the node's parameters, by name, ask for, but for `StreamingPredictor.warm_up`, which takes seconds.

    Raises ValueError for weights, device, precision or sizes that cannot be used, OSError for a file that cannot be
    read, RuntimeError where the device has no room.
    """
    size = tuple(values["processing_size"])
    if len(size) != 2 or (size != (0, 0) and min(size) < 16):
        raise ValueError(f"processing_size = {list(size)} must be [width, height], each at least 16, or [0, 0]")
    weights = zoo.find(values["model"])
    options = {name: values[name] for name in (*SWAPPABLE[1:], "cache_folder", "max_gap", "horizon")}
    log = get_logger("perception").info
    events = None if weights.suffix == ".onnx" else EventImage.of_weights(zoo.read_metadata(weights))
    check_event_source(values["event_source"], events)
    predictor = StreamingPredictor.from_weights(weights, None if size == (0, 0) else size, log=log, **options)
    width, height = predictor.processing_size
    description = {
        "model": predictor.model,
        "weights": f"{weights.name} sha256:{zoo.file_hash(weights)}",
        "backend": predictor.backend,
        "device": predictor.device,
        "precision": predictor.precision,
        "why this precision": predictor.precision_reason,
        "processing size": f"{width}x{height}",
        "threads": thread_count(values),
        "cores": len(os.sched_getaffinity(0)),
        **({"events from": values["event_source"]} if events is not None else {}),
        **({"segmenter": values["segmenter"]} if values["segmenter"] else {}),
    }
    return Loaded(predictor, description, events)


def load_segmenter(values: Mapping[str, Any]) -> StreamingSegmenter | None:
    """The segmenter that the parameters, by name, ask for, None if they ask for none; raises as `load` does."""
    if not values["segmenter"]:
        return None
    options = {"device": values["device"], "precision": values["precision"], "every": values["segmenter_every"]}
    return StreamingSegmenter.from_weights(zoo.find(values["segmenter"]), **options)


def load(values: Mapping[str, Any]) -> Loaded:
    """`prepare` and warm up."""
    loaded = prepare(values)
    loaded.predictor.warm_up()
    return loaded


def unmeasured(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters with another precision where auto would be measured, which takes a second."""
    # With ONNX Runtime nothing is.
    is_measured = values["precision"] == "auto" and values["backend"] == "torch"
    return {**values, "precision": "fp32"} if is_measured and not values["model"].endswith(".onnx") else values


def load_aside(values: Mapping[str, Any]) -> Loaded:
    """`load` beside a network that is at work: what can be done in another process is."""
    quickly, recorded = unmeasured(values), None
    loaded = prepare(quickly)
    if loaded.predictor.is_recorded:
        weights, size = zoo.find(values["model"]), loaded.predictor.processing_size
        try:
            recorded = record_aside(weights, size, values["precision"], values["cache_folder"])
        except (OSError, RuntimeError) as error:
            get_logger("perception").warning(f"recording in this process, since another failed: {error}")
    precision = recorded.precision if recorded else values["precision"]
    if precision != quickly["precision"]:
        loaded = prepare({**values, "precision": precision})
    if recorded:
        loaded.description["why this precision"] = recorded.reason
    loaded.predictor.warm_up(recorded.step if recorded else None)
    return loaded


def in_thread(task: Callable[[], T], threads: int) -> Future[T]:
    """Start ``task``, which uses PyTorch on so many CPU threads, in a thread that ends with it.

    OpenMP keeps a pool of threads for every thread that has used several. With more of them than cores none waits
    awake for work, and the network takes twice as long: so this pool goes, with the thread that it belongs to.
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


def give_memory_back() -> None:
    """Return what was held for networks to the GPU and to the system. For a process that has none any longer."""
    gc.collect()  # A recorded network refers to itself.
    # PyTorch keeps the types of every network that was ever recorded, some 15 MB of each.
    torch.jit._state._clear_class_state()
    torch._C._jit_clear_class_registry()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim_memory()


def trim_memory() -> None:
    """Return to the system what has been freed, which takes a few ms. Each thread that loads leaves some behind."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)
