"""Running a network with ONNX Runtime: execution providers, exported files and engines."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import stvae_ros
from stvae_ros.checkpoint import Checkpoint
from stvae_ros.files import cache_folder
from stvae_ros.nn.interface import FramePredictor
from stvae_ros.runtime.device import check_device
from stvae_ros.runtime.export import export_onnx
from stvae_ros.runtime.onnx_file import OnnxNetwork

BACKENDS = ("torch", "onnxruntime")
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""Execution providers of ONNX Runtime, by their names in parameters."""
_REPORT_SECONDS = 10.0


def resolve_provider(provider: str, device: str) -> str:
    """Find the execution provider that a user names.

    Args:
        provider: a key of `PROVIDERS`, or ``auto``, which is cuda where ONNX Runtime has it and ``device`` is not cpu,
            else cpu.
        device: auto, cpu or cuda:N.

    Raises:
        ValueError: the provider or the device is unknown, missing, or not for the other, or ONNX Runtime is missing.
    """
    check_device(device)
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError("backend onnxruntime needs ONNX Runtime: pip install onnx onnxruntime") from error
    here = [name for name, full in PROVIDERS.items() if full in onnxruntime.get_available_providers()]
    if provider == "auto":
        if device.startswith("cuda") and "cuda" not in here:
            raise ValueError(
                f"device {device!r} is not there: this build of ONNX Runtime has {', '.join(here)}; use auto or cpu, "
                "or install onnxruntime-gpu instead of onnxruntime, on a Jetson NVIDIA's wheel"
            )
        return "cuda" if device != "cpu" and "cuda" in here else "cpu"
    if provider not in PROVIDERS:
        raise ValueError(f"onnx_provider {provider!r} is not one: use auto, {', '.join(PROVIDERS)}")
    if provider not in here:
        raise ValueError(
            f"onnx_provider {provider!r} is not in this build of ONNX Runtime, which has {', '.join(here)}; "
            "on a PC install onnxruntime-gpu instead of onnxruntime, on a Jetson NVIDIA's wheel"
        )
    if device != "auto" and (device == "cpu") != (provider == "cpu"):
        raise ValueError(
            f"onnx_provider {provider!r} does not run on device {device!r}: use device auto, or another of both"
        )
    return provider


def resolve_onnx_precision(precision: str, provider: str) -> str:
    """Find the precision that a user names: ``auto`` is fp16 on a GPU, else fp32.

    Raises:
        ValueError: the provider lacks the precision.
    """
    allowed = ("fp32",) if provider == "cpu" else ("fp32", "fp16")
    if precision == "auto":
        return allowed[-1]
    if precision not in allowed:
        raise ValueError(f"ONNX Runtime on {provider} has no precision {precision!r}: use auto or {', '.join(allowed)}")
    return precision


class OnnxRuntime:
    """Makes the network that ONNX Runtime runs, on as many CPU threads as PyTorch uses when this is made.

    Args:
        model: a checkpoint, which is exported on first use, or the path of an .onnx file.
        size: width and height of the frames in pixels; None for those of the model.
        device, precision, provider, cache, log: see `StreamingPredictor.from_weights`.

    Attributes:
        architecture: name of the network.
        size: width and height of the frames in pixels.
        precision, provider: as resolved.
        reference: the network as it is before `network` is called. It states the input and the state of the step.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ValueError: the .onnx file, the precision or the provider cannot be used.
    """

    def __init__(
        self,
        model: Checkpoint | Path,
        size: tuple[int, int] | None,
        device: str,
        precision: str,
        provider: str,
        cache: str | Path,
        log: Callable[[str], object],
    ) -> None:
        self._model, self._log = model, log
        self.provider = resolve_provider(provider, device)
        self._device_index = int(device.partition(":")[2] or 0)
        self._cache, self._threads = cache_folder(cache), torch.get_num_threads()
        self.reference: FramePredictor
        if isinstance(model, Checkpoint):
            self.precision = resolve_onnx_precision(precision, self.provider)
            self.reference, self.architecture = model.network(), model.architecture
            self.size = size or model.processing_size
        else:
            file = OnnxNetwork(model, threads=self._threads)
            self.precision = file.metadata["precision"]
            if precision not in ("auto", self.precision):
                raise ValueError(f"{model}: the file is in {self.precision}: use precision auto, not {precision}")
            self.reference, self.architecture = file, file.metadata["architecture"]
            made_for = file.metadata.get("processing_size", "[320, 240]")
            width, height = json.loads(file.metadata["size"]) or json.loads(made_for)
            self.size = size or (width, height)

    def network(self) -> OnnxNetwork:
        """Export the network if that has not been done, and load it.

        This takes seconds, and minutes where TensorRT builds an engine.

        Raises:
            ValueError: ONNX Runtime cannot run the file or start the provider.
            OSError: the cache folder cannot be written.
            ExportError: the exported network differs from PyTorch.
        """
        if not isinstance(self._model, Checkpoint):
            return self._load(self._model)
        width, height = self.size
        name = f"{self._model.path.stem}-{self._model.hash}-{width}x{height}-{self.precision}"
        path = self._cache / f"{name}-{stvae_ros.__version__}.onnx"
        if not path.is_file():
            self._log(f"exporting {self._model.path.name} to {path}; this takes some seconds the first time")
            try:
                found = export_onnx(self._model, path, self.size, self.precision)
            except OSError as error:
                raise OSError(f"cache_folder {self._cache} cannot be written: {error.strerror or error}") from error
            self._log(f"exported; difference from PyTorch in fp32: {found}")
        return self._load(path)

    def _load(self, path: Path) -> OnnxNetwork:
        with _reported(f"{self.provider} prepares {path.name}", self._log):
            network = OnnxNetwork(path, self._providers(path), self._threads)
        if network.provider != PROVIDERS[self.provider]:
            raise ValueError(
                f"{path}: ONNX Runtime could not start {PROVIDERS[self.provider]} and took {network.provider}; "
                "its own log gives the reason, often a CUDA, cuDNN or TensorRT library of another version"
            )
        return network

    def _providers(self, path: Path) -> list[Any]:
        gpu: dict[str, Any] = {"device_id": self._device_index}
        folder = self._cache / "engines"
        engines = {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder),
            "trt_engine_cache_prefix": path.stem,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(folder),
            "trt_fp16_enable": self.precision == "fp16",
        }
        providers: list[Any] = [PROVIDERS["cpu"]]
        if self.provider in ("cuda", "tensorrt"):
            providers.insert(0, (PROVIDERS["cuda"], gpu))
        if self.provider == "tensorrt":
            folder.mkdir(parents=True, exist_ok=True)
            providers.insert(0, (PROVIDERS["tensorrt"], gpu | engines))
        return providers


@contextmanager
def _reported(task: str, log: Callable[[str], object], seconds: float = _REPORT_SECONDS) -> Iterator[None]:
    """Report every ``seconds`` how long the block has run, and at its end if that was long."""
    done, start = threading.Event(), time.monotonic()

    def report() -> None:
        while not done.wait(seconds):
            log(f"{task}: {time.monotonic() - start:.0f} s so far; an engine takes minutes and is kept in the cache")

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if time.monotonic() - start > seconds:
        log(f"{task}: done in {time.monotonic() - start:.0f} s")
