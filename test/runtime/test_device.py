"""Choice of device, precision and number of threads."""

import os
from pathlib import Path

import pytest
import torch
from torch.torch_version import TorchVersion

from stvae_ros.runtime import device
from stvae_ros.runtime.device import automatic_threads, explain_precision, has_bf16, resolve_device, resolve_precision
from stvae_ros.streaming import StreamingPredictor

CPU = torch.device("cpu")


@pytest.mark.parametrize(("version", "works"), [("2.1.2+cu121", False), ("2.2.0", True), ("2.13.0+cpu", True)])
def test_a_pytorch_that_is_too_old_is_named(version: str, works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    if works:
        assert resolve_device("cpu") == torch.device("cpu")
    else:
        with pytest.raises(ValueError, match=r"^PyTorch 2\.1\.2\+cu121 is too old: install 2\.2 or later$"):
            resolve_device("cpu")


def test_auto_without_a_gpu_that_works_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("the GPU of this machine works")
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # as with a driver that does not suit PyTorch
    with pytest.warns(RuntimeWarning, match=r"the GPU does not work .*runs on the CPU"):
        assert resolve_device("auto") == CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_auto_with_a_gpu_is_the_gpu() -> None:
    assert resolve_device("auto") == torch.device("cuda:0")


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("avx2 avx512f", "fp32"), ("avx512f avx512_bf16", "bf16"), ("avx2 amx_bf16 amx_tile", "bf16"), (None, "fp32")],
)
def test_auto_is_bf16_where_the_cpu_has_it(flags: str | None, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> str:
        assert str(path) == "/proc/cpuinfo"
        if flags is None:
            raise FileNotFoundError(path)
        return f"model name : x\nflags : {flags}\n"

    monkeypatch.setattr(Path, "read_text", read)
    assert resolve_precision("auto", CPU) == precision
    assert explain_precision("auto", CPU) == f"auto: this CPU has {'' if precision == 'bf16' else 'no '}bf16 arithmetic"


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_auto_is_bf16_where_the_gpu_has_it(
    capability: tuple[int, int], has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda given: capability)
    assert has_bf16(torch.device("cuda:0")) == has


def test_diagnostics_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_bf16", lambda given: True)
    for given, precision, reason in (("auto", "bf16", "auto: this CPU has bf16"), ("fp32", "fp32", "fp32, given")):
        predictor = StreamingPredictor.from_weights("stvae-rt-s", device="cpu", precision=given)
        assert predictor.precision == precision and predictor.precision_reason.startswith(reason)


def test_threads_leave_cores_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    for cores, threads in ((1, 1), (2, 1), (4, 3), (8, 6), (16, 12)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        assert automatic_threads() == threads
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert automatic_threads() == 2, "OMP_NUM_THREADS is heeded"
