"""Layers and network against closed forms."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stvae_ros import zoo
from stvae_ros.nn.interface import FramePredictor
from stvae_ros.nn.layers.conv_lstm import ConvLSTMCell
from stvae_ros.nn.layers.huber import HuberSmoothness, central_differences
from stvae_ros.nn.layers.warp import resize_flow, sample, warp
from stvae_ros.nn.paper.autoencoder import spatial_encoder, zero_mean_filters
from stvae_ros.nn.paper.flow_regressor import FlowRegressor


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def constant_flow(x: float, y: float, height: int, width: int) -> Tensor:
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, height, width)


def huber_penalty(field: Tensor, weight: float, delta: float) -> Tensor:
    """``weight`` times the Huber norm of the gradient of ``field``, averaged over the field."""
    total = torch.zeros((), dtype=field.dtype)
    for difference in central_differences(field):
        size = difference.abs()
        total = total + torch.where(size < delta, size**2 / 2, delta * (size - delta / 2)).sum()
    return weight * total / field.numel()


def test_parameters_of_each_module() -> None:
    parts = {name: count(module) for name, module in zoo.create("ae-convlstm-flow").named_children()}
    assert parts == {"encoder": 800, "memory": 1_003_776, "flow": 29_706, "decoder": 785}


def test_step_shapes_and_untrained_copy() -> None:
    network = zoo.create("ae-convlstm-flow")
    state = network.initial_state(3, 24, 32)
    prediction, new_state = network.step(torch.rand(3, 1, 24, 32), state)
    assert prediction.frame.shape == (3, 1, 24, 32)
    assert prediction.flow is not None and prediction.flow.shape == (3, 2, 24, 32)
    assert torch.count_nonzero(prediction.flow) == 0, "training starts at copying the last frame"
    assert [part.shape for part in new_state] == [(3, 64, 12, 16)] * 2
    assert all(torch.count_nonzero(part) == 0 for part in state), "the state that came in is left alone"


def test_batch_items_are_independent_and_nothing_stays_in_the_module() -> None:
    torch.manual_seed(0)
    network = zoo.create("ae-convlstm-flow", encoder_gain=5.0).eval()
    torch.nn.init.normal_(network.flow.out.weight)  # type: ignore[union-attr]
    frames = torch.rand(2, 4, 1, 16, 24)
    with torch.no_grad():
        together = [p.flow for p in network(frames)[0]]
        alone = [[p.flow for p in network(frames[i : i + 1])[0]] for i in range(2)]
    for t in range(4):
        torch.testing.assert_close(together[t], torch.cat([alone[0][t], alone[1][t]]), rtol=1e-4, atol=1e-4)
    assert together[3].abs().max() > 0


def test_odd_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"33x24.*multiples of 2"):
        zoo.create("ae-convlstm-flow").initial_state(1, 24, 33)


def test_initialisation_of_the_paper() -> None:
    cell = ConvLSTMCell(16, 64)
    assert 0.079 < cell.gates.weight.abs().max() <= 0.08
    bias = cell.gates.bias.detach().view(4, 64)
    assert torch.equal(bias[1], torch.ones(64)) and torch.count_nonzero(bias[[0, 2, 3]]) == 0
    theta = FlowRegressor(8)
    assert theta.wide.bias is None and theta.smooth.bias is None
    assert torch.count_nonzero(theta.out.weight) == 0


def test_zero_mean_filters_ignore_brightness() -> None:
    torch.manual_seed(0)
    conv = spatial_encoder((1, 16))[0]
    before = conv.weight.detach().clone()
    zero_mean_filters(conv, 10.0)
    torch.testing.assert_close(conv.weight, 10 * (before - before.mean((2, 3), keepdim=True)))


def test_warp_by_whole_and_half_pixels() -> None:
    image = torch.rand(1, 3, 8, 10)
    moved = warp(image, constant_flow(-2, 1, 8, 10))
    torch.testing.assert_close(moved[..., :-1, 2:], image[..., 1:, :-2], rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[..., 0, 0], image[..., 1, 0], rtol=0, atol=1e-5), "the border repeats"
    half = warp(image, constant_flow(0.5, 0, 8, 10))
    torch.testing.assert_close(half[..., :-1], (image[..., :-1] + image[..., 1:]) / 2, rtol=0, atol=1e-5)


def test_warp_of_a_ramp_adds_the_flow_and_stays_float32() -> None:
    height, width = 12, 200
    ramp = torch.arange(width, dtype=torch.float32).expand(1, 1, height, width)
    flow = torch.rand(1, 2, height, width) * 3
    with torch.autocast("cpu", torch.bfloat16):
        moved = warp(ramp, flow)
    expected = (ramp + flow[:, :1]).clamp(max=width - 1)
    assert moved.dtype == torch.float32
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-3)


def test_resize_flow_scales_the_vectors() -> None:
    resized = resize_flow(constant_flow(1.5, -2.0, 6, 8), 18, 16)
    torch.testing.assert_close(resized, constant_flow(3.0, -6.0, 18, 16).contiguous())


@pytest.mark.parametrize("scale", [1e-4, 1.0], ids=["square", "linear"])
def test_huber_gradient_against_autograd_and_finite_differences(scale: float) -> None:
    torch.manual_seed(1)
    weight, delta = 0.7, 1e-3
    field = (torch.randn(2, 2, 5, 6, dtype=torch.float64) * scale).requires_grad_()
    output = HuberSmoothness(weight, delta)(field)
    assert torch.equal(output, field), "identity forward"
    upstream = torch.randn_like(field)
    (given,) = torch.autograd.grad((output * upstream).sum(), field)
    (automatic,) = torch.autograd.grad(huber_penalty(field, weight, delta), field)
    torch.testing.assert_close(given - upstream, automatic)
    step = 1e-7 * scale
    for index in [(0, 0, 0, 0), (1, 1, 2, 3), (0, 1, 4, 5), (1, 0, 0, 3)]:
        nudge = torch.zeros_like(field)
        nudge[index] = step
        rise = huber_penalty(field + nudge, weight, delta) - huber_penalty(field - nudge, weight, delta)
        assert (given - upstream)[index].item() == pytest.approx((rise / (2 * step)).item(), rel=1e-4, abs=1e-12)


def test_huber_penalty_by_hand() -> None:
    field = torch.tensor([[0.0, 0.0, 4.0], [0.0, 0.0, 4.0], [0.0, 0.0, 4.0]]).view(1, 1, 3, 3)
    # Along x the three central differences are 2, along y all are 0; linear part: delta (|d| - delta / 2).
    assert huber_penalty(field, 1.0, 0.5).item() == pytest.approx(3 * 0.5 * (2 - 0.25) / 9)


def test_conv_lstm_step_against_the_equations() -> None:
    torch.manual_seed(2)
    cell = ConvLSTMCell(2, 3, kernel_size=3).double()
    torch.nn.init.normal_(cell.gates.bias, std=0.5)
    x, h, c = (torch.randn(1, n, 5, 4, dtype=torch.float64) for n in (2, 3, 3))
    with torch.no_grad():
        hidden, memory = cell(x, h, c)
    weight, bias = cell.gates.weight.detach().numpy(), cell.gates.bias.detach().numpy()

    def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
        out = np.zeros((kernel.shape[0], *image.shape[1:]))
        for row in range(image.shape[1]):
            for column in range(image.shape[2]):
                patch = padded[:, row : row + 3, column : column + 3]
                out[:, row, column] = (kernel * patch).sum(axis=(1, 2, 3))
        return out

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    gates = convolve(x[0].numpy(), weight[:, :2]) + convolve(h[0].numpy(), weight[:, 2:]) + bias[:, None, None]
    i, f, o = (sigmoid(gates[3 * k : 3 * k + 3]) for k in range(3))
    g = np.tanh(gates[9:])
    expected_c = g * i + c[0].numpy() * f
    np.testing.assert_allclose(memory[0].numpy(), expected_c, atol=1e-12)
    np.testing.assert_allclose(hidden[0].numpy(), o * np.tanh(expected_c), atol=1e-12)


def test_flow_is_clamped_to_a_quarter_of_the_feature_map() -> None:
    theta = FlowRegressor(4)
    torch.nn.init.constant_(theta.out.bias, 100.0)
    flow = theta(torch.zeros(1, 4, 9, 21))
    assert flow[:, 0].unique().tolist() == [5.0] and flow[:, 1].unique().tolist() == [2.0]


def trained_like(seed: int = 0) -> FramePredictor:
    """A network whose last layer of Theta is not zero, so that its flow is not either."""
    torch.manual_seed(seed)
    network = zoo.create("ae-convlstm-flow", encoder_gain=5.0).eval()
    torch.nn.init.normal_(network.flow.out.weight)  # type: ignore[union-attr]
    return network


@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
def test_types_of_a_step(autocast: bool) -> None:
    network = trained_like()
    state = network.initial_state(2, 16, 24)
    assert isinstance(state, tuple) and all(isinstance(part, Tensor) for part in state)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        prediction, new_state = network.step(torch.rand(2, 1, 16, 24), state)
    assert isinstance(new_state, tuple) and len(new_state) == len(state)
    assert prediction.flow is not None
    assert {part.dtype for part in (*state, *new_state, prediction.frame, prediction.flow)} == {torch.float32}


def test_the_same_step_twice_gives_the_same() -> None:
    network = trained_like()
    frames = torch.rand(3, 2, 1, 16, 16)
    with torch.no_grad():
        _, state = network.step(frames[0], network.initial_state(2, 16, 16))
        kept = [part.clone() for part in state]
        first, first_state = network.step(frames[1], state)
        network.step(frames[2], first_state)
        again, again_state = network.step(frames[1], state)
    assert first.flow is not None and again.flow is not None
    assert torch.equal(first.frame, again.frame) and torch.equal(first.flow, again.flow)
    assert all(torch.equal(a, b) for a, b in zip(first_state, again_state, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True)), "the state that came in is left alone"


def test_memory_changes_what_is_predicted() -> None:
    network = trained_like()
    frame, empty = torch.rand(1, 1, 16, 16), network.initial_state(1, 16, 16)
    with torch.no_grad():
        first, state = network.step(frame, empty)
        second, _ = network.step(frame, state)
    assert first.flow is not None and second.flow is not None
    assert (first.flow - second.flow).abs().max() > 1e-3


def test_a_sequence_is_a_loop_over_steps() -> None:
    network = trained_like()
    frames = torch.rand(2, 3, 1, 16, 16)
    with torch.no_grad():
        predictions, last = network(frames)
        state = network.initial_state(2, 16, 16)
        for t in range(3):
            prediction, state = network.step(frames[:, t], state)
            assert torch.equal(prediction.frame, predictions[t].frame)
        later, _ = network(frames[:, 1:], network(frames[:, :1])[1])
    assert len(predictions) == 3 and len(later) == 2
    assert all(torch.equal(a, b) for a, b in zip(state, last, strict=True))
    assert torch.equal(later[-1].frame, predictions[-1].frame), "a state can be handed on"


def test_an_untrained_network_decodes_the_features_of_the_last_frame() -> None:
    torch.manual_seed(0)
    network = zoo.create("ae-convlstm-flow")
    frame = torch.rand(1, 1, 16, 24)
    with torch.no_grad():
        prediction, _ = network.step(frame, network.initial_state(1, 16, 24))
        expected = network.decoder(network.encoder(frame))  # type: ignore[operator]
    torch.testing.assert_close(prediction.frame, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(25, 32), (24, 31), (0, 32), (24, 0), (-2, 4)])
def test_sizes_that_do_not_halve_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=rf"the network cannot take frames of {width}x{height}"):
        zoo.create("ae-convlstm-flow").initial_state(1, height, width)


def test_all_weights_learn_once_the_flow_is_not_zero() -> None:
    network = trained_like()
    predictions, _ = network(torch.rand(1, 3, 1, 16, 16))
    flow = predictions[-1].flow
    assert flow is not None
    (predictions[-1].frame.square().mean() + flow.square().mean()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_lstm_weights_fill_the_range_of_the_paper() -> None:
    torch.manual_seed(0)
    weight = ConvLSTMCell(16, 64).gates.weight.detach()
    assert -0.08 <= weight.min() < -0.0799 and 0.0799 < weight.max() <= 0.08
    assert weight.mean().item() == pytest.approx(0.0, abs=2e-4)
    assert weight.std().item() == pytest.approx(0.16 / 12**0.5, rel=5e-3), "uniform"


def test_plain_convolutions_start_as_xavier_without_bias() -> None:
    torch.manual_seed(0)
    network = zoo.create("ae-convlstm-flow")
    convolutions = {
        "E": (network.encoder[0], 1, 16, 49),  # type: ignore[index]
        "D": (network.decoder[1], 16, 1, 49),  # type: ignore[index]
        "wide": (network.flow.wide, 64, 2, 225),  # type: ignore[union-attr]
        "smooth": (network.flow.smooth, 2, 2, 225),  # type: ignore[union-attr]
    }
    for name, (conv, fan_in, fan_out, area) in convolutions.items():
        bound = (6 / ((fan_in + fan_out) * area)) ** 0.5
        assert 0.95 * bound < conv.weight.abs().max() <= bound, name
        assert conv.bias is None or not conv.bias.any(), name
    assert not network.flow.out.weight.any() and not network.flow.out.bias.any()  # type: ignore[union-attr]


def test_encoder_gain_makes_the_filters_of_a_network_zero_mean() -> None:
    torch.manual_seed(0)
    plain = zoo.create("ae-convlstm-flow").encoder[0].weight.detach()  # type: ignore[index]
    torch.manual_seed(0)
    network = zoo.create("ae-convlstm-flow", encoder_gain=10.0)
    weight = network.encoder[0].weight.detach()  # type: ignore[index]
    assert plain.mean((2, 3)).abs().max() > 1e-3
    assert weight.mean((2, 3)).abs().max() < 1e-6
    torch.testing.assert_close(weight.std((2, 3)), 10 * plain.std((2, 3)))
    with torch.no_grad():
        features = network.encoder(torch.full((1, 1, 20, 20), 0.8))  # type: ignore[operator]
    assert features[..., 3:-3, 3:-3].abs().max() < 1e-5, "an even frame shows nothing"


@pytest.mark.parametrize(("x", "y"), [(3, 0), (-3, 0), (0, 2), (0, -2)])
def test_warp_repeats_the_border_on_every_side(x: int, y: int) -> None:
    height, width = 6, 7
    image = torch.rand(1, 1, height, width)
    rows = (torch.arange(height) + y).clamp(0, height - 1)
    columns = (torch.arange(width) + x).clamp(0, width - 1)
    expected = image[:, :, rows][..., columns]
    torch.testing.assert_close(warp(image, constant_flow(x, y, height, width)), expected, rtol=0, atol=1e-5)


def test_warp_by_no_flow_is_identity_and_items_have_their_own_flow() -> None:
    image = torch.rand(2, 1, 9, 11)
    flow = torch.cat([constant_flow(0, 0, 9, 11), constant_flow(1, 0, 9, 11)])
    moved = warp(image, flow)
    torch.testing.assert_close(moved[0], image[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[1, ..., :-1], image[1, ..., 1:], rtol=0, atol=1e-5)


def test_warp_between_four_pixels_is_bilinear() -> None:
    image = torch.tensor([[1.0, 2.0], [4.0, 8.0]]).view(1, 1, 2, 2)
    moved = warp(image, constant_flow(0.25, 0.5, 2, 2))
    top, bottom = 0.75 * 1 + 0.25 * 2, 0.75 * 4 + 0.25 * 8
    assert moved[0, 0, 0, 0].item() == pytest.approx((top + bottom) / 2, abs=1e-5)


def test_warp_of_half_precision_comes_back_in_float32() -> None:
    """In bf16 the 700th pixel of a row could not be addressed: it has 8 bits."""
    width = 1024
    image = (torch.arange(width) % 2).to(torch.bfloat16).expand(1, 1, 2, width)
    with torch.autocast("cpu", torch.bfloat16):
        moved = warp(image, constant_flow(1, 0, 2, width).to(torch.bfloat16))
    assert moved.dtype == torch.float32
    torch.testing.assert_close(moved[..., :-1], image[..., 1:].float(), rtol=0, atol=1e-3)


def test_resize_flow_scales_each_axis_by_its_own_factor() -> None:
    flow = torch.rand(2, 2, 6, 8)
    torch.testing.assert_close(resize_flow(flow, 6, 8), flow)
    smaller = resize_flow(constant_flow(8.0, 9.0, 6, 8), 2, 4)
    torch.testing.assert_close(smaller, constant_flow(4.0, 3.0, 2, 4).contiguous())


def test_central_differences_of_a_plane() -> None:
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij")
    along_x, along_y = central_differences((2 * x - 3 * y)[None, None])
    assert torch.equal(along_x, torch.full((1, 1, 4, 3), 2.0))
    assert torch.equal(along_y, torch.full((1, 1, 2, 5), -3.0))


def test_huber_gradient_of_a_field_in_both_regimes() -> None:
    torch.manual_seed(3)
    weight, delta = 0.3, 0.1
    field = torch.randn(1, 2, 6, 7, dtype=torch.float64)
    field[:, 0] *= 0.02
    field[:, 1] *= 0.5
    field.requires_grad_()
    sizes = torch.cat([difference.detach().abs().flatten() for difference in central_differences(field)])
    assert (sizes < delta).float().mean() > 0.3 and (sizes > delta).float().mean() > 0.3
    layer = HuberSmoothness(weight, delta)
    upstream = torch.randn_like(field)
    (given,) = torch.autograd.grad(layer(field), field, upstream)
    (automatic,) = torch.autograd.grad(huber_penalty(field, weight, delta), field)
    torch.testing.assert_close(given, upstream + automatic, rtol=1e-12, atol=1e-15)
    numeric = torch.zeros_like(field)
    step = 1e-6
    with torch.no_grad():
        for index in np.ndindex(*field.shape):
            nudge = torch.zeros_like(field)
            nudge[index] = step
            rise = huber_penalty(field + nudge, weight, delta) - huber_penalty(field - nudge, weight, delta)
            numeric[index] = rise / (2 * step)
    # Where a difference lies within the step of delta, the two regimes mix; the slope there is continuous.
    torch.testing.assert_close(given - upstream, numeric, rtol=1e-4, atol=1e-8)


def test_huber_gives_no_gradient_without_grad_mode() -> None:
    field = torch.randn(1, 2, 5, 5, requires_grad=True)
    with torch.no_grad():
        output = HuberSmoothness()(field)
    (given,) = torch.autograd.grad(output.sum(), field)
    assert torch.equal(output, field) and torch.equal(given, torch.ones_like(field)), "rough, yet no penalty"
    even = torch.ones(1, 2, 5, 5, requires_grad=True)
    (given,) = torch.autograd.grad(HuberSmoothness(1.0, 1.0)(even).sum(), even)
    assert torch.equal(given, torch.ones_like(even)), "an even field is not penalised"


def test_huber_of_the_network_has_the_weight_of_the_paper() -> None:
    layer = FlowRegressor(4).huber
    assert (layer.weight, layer.delta) == (1e-2, 1e-3)
    assert zoo.create("ae-convlstm-flow", huber_weight=0.5).flow.huber.weight == 0.5  # type: ignore[union-attr]


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_clamp_of_the_flow_leaves_what_is_within(sign: float) -> None:
    theta = FlowRegressor(4)
    with torch.no_grad():
        theta.out.bias.copy_(torch.tensor([sign * 4.0, sign * 9.0]))  # type: ignore[union-attr]
    flow = theta(torch.zeros(2, 4, 9, 21))
    assert flow[:, 0].unique().tolist() == [sign * 4.0], "within 20 / 4"
    assert flow[:, 1].unique().tolist() == [sign * 2.0], "clamped to 8 / 4"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [5, 20])
def test_sampling_as_an_embedding_bag_is_warping(dtype: torch.dtype, channels: int) -> None:
    torch.manual_seed(0)
    features, flow = torch.randn(2, channels, 9, 12).to(dtype), 6 * torch.randn(2, 2, 9, 12)
    expected = warp(features, flow)
    with torch.no_grad():
        fast = sample(features, flow)
    learnt = sample(features, flow)
    assert fast.dtype == learnt.dtype == dtype and fast.is_contiguous(memory_format=torch.channels_last)
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(fast.float(), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(learnt.float(), expected, rtol=0, atol=tolerance)
