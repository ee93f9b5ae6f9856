"""The ten systems of the paper: parameters, step interface, options."""

import numpy as np
import pytest
import torch

from stvae_ros import zoo
from stvae_ros.nn.layers.conv_lstm import ConvLSTMCell, conv_memory
from stvae_ros.nn.layers.memory import MemoryState
from stvae_ros.nn.paper.flow_regressor import FlowRegressor
from stvae_ros.nn.paper.lstm import LSTMCell

PARAMETERS = {
    "ae-conv": 109_073,
    "ae-fclstm": 33_623_649,
    "ae-convlstm": 1_256_305,
    "ae-convlstm-flow": 1_035_067,
    "conv-1enc-1lstm": 703_651,
    "conv-1enc-2lstm": 6_083_563,
    "conv-2enc-1lstm": 1_285_995,
    "conv-2enc-2lstm": 6_132_203,
    "fc-2enc-1lstm": 50_404_347,
    "fc-2enc-2lstm": 83_973_115,
}
WITHOUT_FLOW = {"ae-conv", "ae-fclstm", "ae-convlstm"}
SMALL = {
    "ae-conv": {"channels": [4, 6]},
    "ae-fclstm": {"encoder": [4], "memory": [16, 16, 16], "frame_size": [16, 16]},
    "ae-convlstm": {"memory": [6, 16]},
    "fc-2enc-1lstm": {"encoder": [4, 4], "memory": [32, 32], "frame_size": [16, 16]},
    "fc-2enc-2lstm": {"encoder": [4, 4], "memory": [32, 32, 32], "frame_size": [16, 16]},
}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def small(name: str, **options: object) -> torch.nn.Module:
    """A system with few units, for frames of 16x16."""
    return zoo.create(name, **SMALL.get(name, {"encoder": [4] * (1 + ("2enc" in name)), "memory": [6]}), **options)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_the_paper(name: str) -> None:
    assert count(zoo.create(name)) == PARAMETERS[name]


def test_every_system_of_the_paper_is_registered() -> None:
    assert set(zoo.names()) >= set(PARAMETERS)


def test_parameters_of_each_module_of_conv_1enc_1lstm() -> None:
    parts = {name: count(module) for name, module in zoo.create("conv-1enc-1lstm").named_children()}
    assert parts == {"encoder": 1_600, "memory": 679_320, "flow": 21_162, "decoder": 1_569}


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_system_has_the_step_interface(name: str) -> None:
    torch.manual_seed(0)
    network = small(name).eval()
    frames = torch.rand(3, 4, 1, 16, 16)
    state = network.initial_state(3, 16, 16)
    with torch.no_grad():
        together, _ = network(frames)
        alone, _ = network(frames[1:2])
        for t in range(4):
            prediction, state = network.step(frames[:, t], state)
            torch.testing.assert_close(prediction.frame, together[t].frame)
    assert all(part.shape[0] == 3 for part in state), "states are batch first"
    assert prediction.frame.shape == (3, 1, 16, 16) and prediction.logits is None
    torch.testing.assert_close(together[3].frame[1:2], alone[3].frame, rtol=1e-4, atol=1e-5)
    if name in WITHOUT_FLOW:
        assert prediction.flow is None
    else:
        assert prediction.flow is not None and prediction.flow.shape == (3, 2, 16, 16)
        assert torch.count_nonzero(prediction.flow) == 0, "an untrained network copies the last frame"


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_weight_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    network = small(name, sigmoid=True)
    if name not in WITHOUT_FLOW:
        torch.nn.init.normal_(network.flow.out.weight)
    predictions, _ = network(torch.rand(2, 3, 1, 16, 16))
    sum(p.frame.mean() for p in predictions).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_sigmoid_gives_probabilities_and_their_logits() -> None:
    for name in ("ae-conv", "conv-2enc-1lstm"):
        prediction = small(name, sigmoid=True)(torch.rand(1, 2, 1, 16, 16))[0][-1]
        torch.testing.assert_close(prediction.frame, torch.sigmoid(prediction.logits))


@pytest.mark.parametrize("name", ["ae-fclstm", "fc-2enc-1lstm"])
def test_fully_connected_systems_name_the_size_that_they_take(name: str) -> None:
    with pytest.raises(ValueError, match=r"frames of 128x64.*64x64 alone"):
        zoo.create(name).initial_state(1, 64, 128)


def test_unknown_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"ae-conv has no option memory; its options: .*channels"):
        zoo.create("ae-conv", memory=[3])


def test_ae_conv_depends_on_the_last_ten_frames_only() -> None:
    torch.manual_seed(0)
    network = zoo.create("ae-conv").eval()
    frames = torch.rand(1, 12, 1, 16, 16)
    with torch.no_grad():
        predictions, _ = network(frames)
        late, _ = network(frames[:, 2:])
        other, _ = network(torch.cat([frames[:, :2], 1 - frames[:, 2:3], frames[:, 3:]], dim=1))
    torch.testing.assert_close(predictions[-1].frame, late[-1].frame)
    assert (predictions[-1].frame - other[-1].frame).abs().max() > 1e-4, "the oldest of the ten frames matters"


@pytest.mark.parametrize("peepholes", [False, True])
def test_lstm_step_against_the_equations(peepholes: bool) -> None:
    torch.manual_seed(1)
    cell = LSTMCell(3, 4, peepholes).double()
    x, h, c = torch.randn(2, 3).double(), torch.randn(2, 4).double(), torch.randn(2, 4).double()
    with torch.no_grad():
        hidden, memory = cell(x, h, c)
    weight, bias = cell.gates.weight.detach().numpy(), cell.gates.bias.detach().numpy()
    total = np.concatenate([x.numpy(), h.numpy()], axis=1) @ weight.T + bias
    i, f, o, g = np.split(total, 4, axis=1)
    seen = cell.peepholes.detach().numpy() if cell.peepholes is not None else np.zeros((3, 4))

    def sigmoid(value: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-value))

    expected = sigmoid(i + seen[0] * c.numpy()) * np.tanh(g) + sigmoid(f + seen[1] * c.numpy()) * c.numpy()
    np.testing.assert_allclose(memory.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(hidden.numpy(), sigmoid(o + seen[2] * expected) * np.tanh(expected), atol=1e-12)


@pytest.mark.parametrize("cell_type", [ConvLSTMCell, LSTMCell])
def test_untied_first_step_uses_separate_gates_for_new_items_only(cell_type: type) -> None:
    torch.manual_seed(2)
    cell = cell_type(2, 3, untied_first_step=True)
    size = (5, 5) if cell_type is ConvLSTMCell else ()
    x = torch.randn(2, 2, *size)
    hidden, memory = torch.randn(2, 3, *size), torch.randn(2, 3, *size)
    started = torch.tensor([0.0, 1.0]).view(2, *([1] * (1 + len(size))))
    with torch.no_grad():
        mixed = cell(x, hidden, memory, started)
        tied = cell(x, hidden, memory)
        i, o, g = cell.first(x).chunk(3, dim=1)
    first_cell = torch.sigmoid(i) * torch.tanh(g)
    torch.testing.assert_close(mixed[1], torch.stack([first_cell[0], tied[1][1]]))
    torch.testing.assert_close(mixed[0], torch.stack([(torch.sigmoid(o) * torch.tanh(first_cell))[0], tied[0][1]]))


@pytest.mark.parametrize("name", ["conv-2enc-1lstm", "fc-2enc-1lstm"])
def test_options_add_their_tensor_to_the_state(name: str) -> None:
    torch.manual_seed(3)
    plain = small(name).initial_state(2, 16, 16)
    untied, recurrent = small(name, untied_first_step=True), small(name, recurrent_flow=True)
    _, state = untied(torch.rand(2, 2, 1, 16, 16))
    assert len(state) == len(plain) + 1 and state[-1].flatten().tolist() == [1.0, 1.0], "both items have started"
    _, state = recurrent(torch.rand(2, 2, 1, 16, 16))
    assert len(state) == len(plain) + 1 and state[-1].shape == (2, 2, 4, 4)


@pytest.mark.parametrize("untied", [False, True])
def test_memory_state_is_flat_at_the_border(untied: bool) -> None:
    state = conv_memory((1, 2, 3), untied).initial_state(2, 4, 5)
    flat = state.flatten()
    assert [part.shape[1] for part in flat] == [2, 2, 3, 3] + [1] * untied, "hidden and cell state of each LSTM"
    again = MemoryState.unflatten(flat)
    assert all(a is b for a, b in zip(again.flatten(), flat, strict=True)) and (again.started is not None) == untied


def test_recurrent_regressor_mixes_in_the_last_flow() -> None:
    torch.manual_seed(4)
    theta = FlowRegressor(4, recurrent=True)
    assert theta.keep is not None
    torch.nn.init.zeros_(theta.keep.weight)
    last = torch.full((1, 2, 40, 40), 3.0)
    kept = torch.sigmoid(torch.tensor(-2.0)).item()
    assert theta(torch.randn(1, 4, 40, 40), last).unique().tolist() == pytest.approx([3 * kept]), (
        "the regressed flow is 0"
    )


def test_learnt_scale_of_the_flow() -> None:
    theta = FlowRegressor(4, scale=True, bias=True)
    with torch.no_grad():
        theta.out.bias.copy_(torch.tensor([1.0, 1.0]))
        theta.scale.copy_(torch.tensor([2.0, -3.0]))
    flow = theta(torch.zeros(1, 4, 40, 40))
    assert flow[:, 0].unique().tolist() == [2.0] and flow[:, 1].unique().tolist() == [-3.0]
