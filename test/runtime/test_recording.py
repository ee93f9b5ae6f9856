"""A recorded step does exactly what the step does."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from stvae_ros import zoo
from stvae_ros.nn.interface import FramePredictor, Prediction
from stvae_ros.runtime.recording import RecordedNetwork

OUTPUTS = ("frame", "flow", "logits", "observed_flow", "confidence")


def small(name: str) -> tuple[FramePredictor, int, int]:
    torch.manual_seed(0)
    network = zoo.create(name).eval()
    for parameter in network.parameters():
        if parameter.ndim == 4 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.03)
    height, width = network.frame_size or (4 * network.size_multiple, 6 * network.size_multiple)
    return network, height, width


def run(network: FramePredictor, frames: Tensor) -> list[Prediction]:
    with torch.inference_mode():
        return network(frames)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", zoo.names())
def test_it_does_what_the_network_does(name: str, dtype: torch.dtype) -> None:
    network, height, width = small(name)
    frames = torch.rand(1, 5, network.in_channels, height, width)
    # PyTorch has more than one way of adding the bias of a linear layer, and they round differently.
    linear = dtype == torch.bfloat16 and any(isinstance(module, torch.nn.Linear) for module in network.modules())
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        recorded = RecordedNetwork(network, height, width)
        for got, expected in zip(run(recorded, frames), run(network, frames), strict=True):
            for output in OUTPUTS:
                one, other = getattr(got, output), getattr(expected, output)
                assert (one is None) == (other is None), output
                if one is not None:
                    torch.testing.assert_close(one, other, rtol=0, atol=2**-6 if linear else 0, msg=output)


def test_a_batch_gives_what_its_frames_give_one_by_one() -> None:
    network, height, width = small("stvae-rt-s")
    recorded = RecordedNetwork(network, height, width)
    frames = torch.rand(3, 4, 3, height, width)
    batch = run(recorded, frames)
    for index, camera in enumerate(frames.split(1)):
        for one, together in zip(run(recorded, camera), batch, strict=True):
            for output in OUTPUTS:
                part = getattr(one, output)
                assert part is None or torch.equal(part, getattr(together, output)[index : index + 1]), output


def test_other_sizes_are_left_to_the_network() -> None:
    network, height, width = small("stvae-rt-s")
    recorded = RecordedNetwork(network, height, width)
    frames = torch.rand(1, 3, 3, 2 * height, width)
    assert torch.equal(run(recorded, frames)[-1].frame, run(network, frames)[-1].frame)


def test_several_are_recorded_at_once() -> None:
    network, height, width = small("ae-convlstm-flow")
    frames = torch.rand(1, 2, network.in_channels, height, width)
    with ThreadPoolExecutor(4) as threads:
        for recorded in threads.map(lambda _: RecordedNetwork(network, height, width), range(4)):
            assert torch.equal(run(recorded, frames)[-1].frame, run(network, frames)[-1].frame)
