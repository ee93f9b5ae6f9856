"""What the GPU does to frames is what OpenCV does; shown on the CPU, where both can be had."""

import numpy as np
import pytest
import torch

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.streaming.host_copy import HostCopy
from stvae_ros.streaming.preprocessor import Preprocessor

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("grey", [False, True], ids=["bgr", "grey"])
@pytest.mark.parametrize("size", [(160, 120), (80, 60), (96, 64), (53, 120), (33, 47)])
def test_scaling_on_the_device_is_that_of_opencv(size: tuple[int, int], grey: bool, channels: int) -> None:
    image = SyntheticScene(1, 160, 120).frame(0)
    image[:8, :8] = (255, 0, 0)
    image = image[..., 1] if grey else image
    prepare = Preprocessor(size, channels, CPU)
    wanted = prepare([image])[0]
    found = prepare.on_device(torch.from_numpy(np.ascontiguousarray(image)))
    assert found.shape == wanted.shape == (size[1], size[0], channels) and found.dtype == torch.uint8
    # OpenCV rounds halves up where it takes the mean of 2x2 pixels, and has its own order of sums.
    difference = (found.int() - wanted.int()).abs()
    assert difference.max() <= 1 and difference.float().mean() < 0.2
    if size == (160, 120):
        assert torch.equal(found, wanted), "colours need no rounding of their own"


def test_weights_are_kept_for_few_sizes_only() -> None:
    prepare = Preprocessor((8, 8), 1, CPU)
    for width in range(10, 40):
        assert prepare.on_device(torch.full((20, width), 7, dtype=torch.uint8)).eq(7).all()
    assert len(prepare._areas) <= 8


def test_a_tensor_of_the_host_is_its_own_download() -> None:
    tensor = torch.rand(3)
    assert HostCopy(tensor).tensor is tensor


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_frames_go_to_the_gpu_and_back() -> None:
    images = [SyntheticScene(seed, 160, 120).frame(0) for seed in range(2)]
    images += [images[0][..., 0], images[1][:40, :50]]  # a view that is not contiguous, and one to be made larger
    for channels in (1, 3):
        expected = Preprocessor((80, 60), channels, CPU)(images)
        found = HostCopy(Preprocessor((80, 60), channels, torch.device("cuda"))(images))
        assert (found.tensor.int() - expected.int()).abs().max() <= 1
