"""From the node's parameters to a network that is ready for its first frame."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from stvae_ros import zoo
from stvae_ros.streaming import StreamingPredictor


class Loaded(NamedTuple):
    """A predictor, and what to say of it in the log and in /diagnostics."""

    predictor: StreamingPredictor
    description: dict[str, object]


def thread_count(values: Mapping[str, Any]) -> int:
    """CPU threads of the network, from parameters by name."""
    return int(values["num_threads"]) or torch.get_num_threads()


def load(values: Mapping[str, Any]) -> Loaded:
    """Load and warm up what the node's parameters, by name, ask for.

    Raises ValueError for weights, device, precision or sizes that cannot be used, OSError for a file that cannot be
    read, RuntimeError where the device has no room.
    """
    size = tuple(values["processing_size"])
    if len(size) != 2 or (size != (0, 0) and min(size) < 16):
        raise ValueError(f"processing_size = {list(size)} must be [width, height], each at least 16, or [0, 0]")
    weights = zoo.find(values["model"])
    options = {name: values[name] for name in ("device", "precision", "max_gap", "horizon")}
    threads = thread_count(values)
    # OpenMP keeps a pool of threads for every thread that has used several. With more of them than cores none waits
    # awake for work, and the network takes twice as long: so this pool goes, with the thread that it belongs to.
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as thread:
        predictor = thread.submit(_ready, weights, None if size == (0, 0) else size, options).result()
    width, height = predictor.processing_size
    description = {
        "model": zoo.read_metadata(weights)["architecture"],
        "weights": f"{weights.name} sha256:{zoo.file_hash(weights)}",
        "device": predictor.device,
        "precision": predictor.precision,
        "processing size": f"{width}x{height}",
        "threads": threads,
    }
    return Loaded(predictor, description)


def _ready(weights: Path, size: tuple[int, int] | None, options: dict[str, Any]) -> StreamingPredictor:
    predictor = StreamingPredictor.from_weights(weights, size, **options)
    predictor.warm_up()
    return predictor
