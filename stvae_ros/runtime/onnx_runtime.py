"""Running a network by ONNX Runtime: which execution provider, and where exported files and engines are kept."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import stvae_ros
from stvae_ros import zoo
from stvae_ros.nn.interface import FramePredictor
from stvae_ros.runtime.export import export_onnx
from stvae_ros.runtime.onnx_file import OnnxNetwork, read_metadata

BACKENDS = ("torch", "onnxruntime")
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""Execution providers of ONNX Runtime, as parameters call them."""
_REPORT_SECONDS = 10.0


def default_cache() -> Path:
    """Where exported files, engines and measurements are kept: STVAE_ROS_CACHE, or a folder of the user's cache."""
    if os.environ.get("STVAE_ROS_CACHE"):
        return Path(os.environ["STVAE_ROS_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stvae_ros"


def resolve_provider(provider: str, device: str) -> str:
    """``auto`` is cuda where ONNX Runtime has it, unless ``device`` is cpu, else cpu.

    Returns a key of `PROVIDERS`. Raises ValueError for a provider that is unknown or not here, or without ONNX Runtime.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError("backend onnxruntime needs ONNX Runtime: pip install onnx onnxruntime") from error
    here = [name for name, full in PROVIDERS.items() if full in onnxruntime.get_available_providers()]
    if provider == "auto":
        return "cuda" if device != "cpu" and "cuda" in here else "cpu"
    if provider not in PROVIDERS:
        raise ValueError(f"onnx_provider {provider!r} is not one: use auto, {', '.join(PROVIDERS)}")
    if provider not in here:
        raise ValueError(
            f"onnx_provider {provider!r} is not in this build of ONNX Runtime, which has {', '.join(here)}; "
            "on a PC install onnxruntime-gpu instead of onnxruntime, on a Jetson NVIDIA's wheel"
        )
    return provider


def resolve_onnx_precision(precision: str, provider: str) -> str:
    """``auto`` is fp16 on a GPU, else fp32. Raises ValueError for what the provider cannot do."""
    allowed = ("fp32",) if provider == "cpu" else ("fp32", "fp16")
    if precision == "auto":
        return allowed[-1]
    if precision not in allowed:
        raise ValueError(
            f"precision {precision!r} cannot be had from ONNX Runtime on {provider}: use auto or {', '.join(allowed)}"
        )
    return precision


@dataclass(frozen=True)
class OnnxRuntime:
    """Makes a network that ONNX Runtime runs.

    model: weights, exported on first use, or an .onnx file; architecture: name of its network. size: (width, height) of
    its frames. precision, provider: resolved. device_index: of the GPU. threads: of the CPU. log: told what takes long.
    """

    model: Path
    architecture: str
    size: tuple[int, int]
    precision: str
    provider: str
    device_index: int
    threads: int
    cache: Path
    log: Callable[[str], object]

    def reference(self) -> FramePredictor:
        """The network without its speed: what it takes and gives. Raises WeightsError and ValueError."""
        if self.model.suffix == ".onnx":
            return OnnxNetwork(self.model, threads=self.threads)
        return zoo.load(self.model)

    def network(self) -> OnnxNetwork:
        """Export if that has not been done, and load; takes seconds, and minutes where TensorRT builds an engine.

        Raises ValueError, OSError and ExportError.
        """
        if self.model.suffix == ".onnx":
            return self._load(self.model)
        width, height = self.size
        name = f"{self.model.stem}-{zoo.file_hash(self.model)}-{width}x{height}-{self.precision}"
        path = self.cache / f"{name}-{stvae_ros.__version__}.onnx"
        if not path.is_file():
            self.log(f"exporting {self.model.name} to {path}, which takes some seconds the first time")
            found = export_onnx(self.model, path, self.size, self.precision)
            self.log(f"exported; difference from PyTorch in fp32: {found}")
        return self._load(path)

    def _load(self, path: Path) -> OnnxNetwork:
        with _reported(f"{self.provider} prepares {path.name}", self.log):
            network = OnnxNetwork(path, self._providers(path), self.threads)
        if network.provider != PROVIDERS[self.provider]:
            raise ValueError(
                f"{path}: ONNX Runtime could not start {PROVIDERS[self.provider]} and took {network.provider}; "
                "its own log says why, often a CUDA, cuDNN or TensorRT library of another version"
            )
        return network

    def _providers(self, path: Path) -> list[Any]:
        gpu: dict[str, Any] = {"device_id": self.device_index}
        engines = {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(self.cache / "engines"),
            "trt_engine_cache_prefix": path.stem,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(self.cache / "engines"),
            "trt_fp16_enable": self.precision == "fp16",
        }
        providers: list[Any] = [PROVIDERS["cpu"]]
        if self.provider in ("cuda", "tensorrt"):
            providers.insert(0, (PROVIDERS["cuda"], gpu))
        if self.provider == "tensorrt":
            (self.cache / "engines").mkdir(parents=True, exist_ok=True)
            providers.insert(0, (PROVIDERS["tensorrt"], gpu | engines))
        return providers


def onnx_runtime(
    model: Path,
    size: tuple[int, int] | None,
    device: str,
    precision: str,
    provider: str,
    cache_folder: str | Path,
    log: Callable[[str], object],
) -> OnnxRuntime:
    """What will run ``model``, weights or an .onnx file, on as many threads of the CPU as PyTorch uses now.

    device: auto, cpu or cuda:N. The other arguments are those of `StreamingPredictor.from_weights`.
    Raises WeightsError, and ValueError for a choice that cannot be had.
    """
    provider = resolve_provider(provider, device)
    metadata = read_metadata(model) if model.suffix == ".onnx" else zoo.read_metadata(model)
    made_for = json.loads(metadata.get("processing_size", "[320, 240]"))
    if model.suffix == ".onnx":
        if precision not in ("auto", metadata["precision"]):
            raise ValueError(f"{model}: the file is in {metadata['precision']}: use precision auto, not {precision}")
        precision = metadata["precision"]
        made_for = json.loads(metadata["size"]) or made_for
    else:
        precision = resolve_onnx_precision(precision, provider)
    width, height = size or made_for
    index = int(device.partition(":")[2] or 0)
    cache = Path(cache_folder).expanduser() if cache_folder else default_cache()
    threads = torch.get_num_threads()
    architecture = metadata["architecture"]
    return OnnxRuntime(model, architecture, (width, height), precision, provider, index, threads, cache, log)


@contextmanager
def _reported(what: str, log: Callable[[str], object], seconds: float = _REPORT_SECONDS) -> Iterator[None]:
    """A context that tells ``log`` how long it has been at work, every so often, and at the end if that was long."""
    done, start = threading.Event(), time.monotonic()

    def report() -> None:
        while not done.wait(seconds):
            log(f"{what}: {time.monotonic() - start:.0f} s so far; an engine takes minutes, and is kept for next time")

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if time.monotonic() - start > seconds:
        log(f"{what}: done in {time.monotonic() - start:.0f} s")
