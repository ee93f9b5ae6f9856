"""Choice of the device."""

import pytest
import torch

from stvae_ros.runtime.device import resolve_device


def test_auto_without_a_gpu_that_works_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("the GPU of this machine works")
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # as with a driver that does not suit PyTorch
    with pytest.warns(RuntimeWarning, match=r"the GPU does not work .*runs on the CPU"):
        assert resolve_device("auto") == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_auto_with_a_gpu_is_the_gpu() -> None:
    assert resolve_device("auto") == torch.device("cuda:0")
