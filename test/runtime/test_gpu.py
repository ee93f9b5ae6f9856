"""What runs on a GPU gives what the same network gives without; what needs one is skipped where none is at hand."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from stvae_ros import zoo
from stvae_ros.checkpoint import find
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.nn.rollout import rollout
from stvae_ros.runtime.cuda_graph import GraphedNetwork, graphed
from stvae_ros.streaming import Frame, StreamingPredictor

MS = 1_000_000
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Waiting(FramePredictor):
    """Waits for the device in its step, which no graph can."""

    in_channels = 1
    size_multiple = 1

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))

    def initial_state(self, batch: int, height: int, width: int) -> State:
        return (torch.zeros(batch, 1, device=self.gain.device),)

    def step(self, frame: torch.Tensor, state: State) -> tuple[Prediction, State]:
        return Prediction(frame * self.gain.item(), None), (state[0] + 1,)


def test_without_a_graph_the_network_runs_itself() -> None:
    network = Waiting().to("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.warns(RuntimeWarning, match="no CUDA graph .*slower"):
        assert graphed(network, 8, 8) is network
    frame = torch.ones(1, 1, 8, 8, device=network.gain.device)
    assert torch.equal(network.step(frame, network.initial_state(1, 8, 8))[0].frame, frame), "the device still works"


@pytest.mark.parametrize("name", ["stvae-rt-s", "stvae-rt-m", "ae-convlstm-flow", "fc-2enc-2lstm", "conv-2enc-2lstm"])
def test_a_step_makes_no_tensor_elsewhere_and_reads_none_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On "meta", which has no values, either is an error, as the former is on a GPU, and the latter in a graph."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())  # which that device has not
    network = zoo.create(name).eval().to("meta")
    height, width = network.frame_size or (4 * network.size_multiple, 6 * network.size_multiple)
    frame = torch.rand(1, network.in_channels, height, width, device="meta")
    state = network.initial_state(1, height, width)
    with torch.inference_mode():
        prediction, state = network.step(frame, state)
        predictions = rollout(network, frame, prediction, state, 2)
    assert all(step.frame.is_meta for step in predictions) and all(part.is_meta for part in state)


def test_steps_that_a_gpu_would_refuse_are_found() -> None:
    network = Waiting().to("meta")
    frame = torch.rand(1, 1, 8, 8, device="meta")
    with pytest.raises(RuntimeError, match="meta"):
        network.step(frame, network.initial_state(1, 8, 8))


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ["stvae-rt-s", "stvae-rt-m", "ae-convlstm-flow"])
def test_a_graph_gives_what_the_network_gives(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = zoo.create(name).eval().cuda()
    height, width = network.frame_size or (4 * network.size_multiple, 6 * network.size_multiple)
    frames = torch.rand(2, 5, network.in_channels, height, width, device="cuda")
    with torch.inference_mode(), torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        graph = GraphedNetwork(network, height, width)
        states = {each: [each.initial_state(1, height, width)] * 2 for each in (network, graph)}
        for t in range(5):
            for camera in range(2):
                results = []
                for each in (network, graph):
                    prediction, states[each][camera] = each.step(frames[camera, None, t], states[each][camera])
                    results.append((prediction.frame, prediction.flow, *states[each][camera]))
                for eager, replayed in zip(*results, strict=True):
                    torch.testing.assert_close(replayed.float(), eager.float(), rtol=1e-2, atol=1e-2)
        kept = prediction.frame.clone()
        graph.step(frames[:1, 0], states[graph][0])
        assert torch.equal(prediction.frame, kept), "a result is not written over"
        assert graph.step(frames[:, 0], graph.initial_state(2, height, width))[0].frame.shape == frames[:, 0].shape


@needs_gpu
def test_the_gpu_predicts_what_the_cpu_predicts() -> None:
    scenes = {"front": SyntheticScene(3, 96, 64), "rear": SyntheticScene(4, 96, 64)}
    predictors = {
        device: StreamingPredictor.from_weights(
            find("stvae-rt-s"), (96, 64), device=device, precision="fp32", horizon=2
        )
        for device in ("cpu", "cuda:0")
    }
    predictors["cuda:0"].warm_up()
    for t in range(6):
        shown = {name: Frame(scene.frame(t), t * 40 * MS) for name, scene in scenes.items()}
        if t % 2:  # one by one, not as one batch
            steps = {device: {n: p.step({n: f})[n] for n, f in shown.items()} for device, p in predictors.items()}
        else:
            steps = {device: predictor.step(shown) for device, predictor in predictors.items()}
        for name in shown:
            cpu, gpu = (steps[device][name] for device in predictors)
            assert cpu is not None and gpu is not None and cpu.reset == gpu.reset
            assert np.abs(cpu.flow - gpu.flow).mean() < 0.05
            assert np.abs(cpu.prediction.astype(int) - gpu.prediction).mean() < 1
