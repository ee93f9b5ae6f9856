"""One step of a network as a function of named tensors, for export."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stvae_ros.nn.interface import FramePredictor, Prediction, State

PRECISIONS = ("fp32", "fp16")
"""Precisions of the convolutions of an exported step. Everything else, as flow, grid and sampling, is in fp32."""
OUTPUTS = {"prediction": "frame", "flow": "flow", "observed_flow": "observed_flow", "confidence": "confidence"}
"""Names of the outputs, and the field of `Prediction` of each. Outputs that a network lacks are left out."""

Shape = tuple[int | str, ...]
"""Shape of a part of the state: "batch", numbers, "height/N" and "width/N". A network for one size has numbers only."""


class Step(nn.Module):
    """The step ``(frame, state_0, ...) -> (prediction, flow, ..., state_0_out, ...)``, all float32.

    The state has the parts of the network's state that are not empty. They are zeros before the first frame.

    Args:
        network: is copied.
        precision: one of `PRECISIONS`.

    Raises:
        ValueError: the precision is unknown.
    """

    def __init__(self, network: FramePredictor, precision: str = "fp32") -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} cannot be exported: use {' or '.join(PRECISIONS)}")
        height, width = network.frame_size or (8 * network.size_multiple, 4 * network.size_multiple)
        state = network.initial_state(1, height, width)
        assert not any(part.any() for part in state), "an empty memory is zeros"
        self._kept = [part.numel() > 0 for part in state]
        other = state if network.frame_size else network.initial_state(1, 2 * height, 2 * width)
        self.state_shapes = [
            _shape(part, larger, height, width) for part, larger in zip(state, other, strict=True) if part.numel()
        ]
        frame = torch.zeros(1, network.in_channels, height, width, device=state[0].device)
        with torch.no_grad():
            prediction = network.step(frame, state)[0]
        self._outputs = [name for name, part in OUTPUTS.items() if getattr(prediction, part) is not None]
        self.precision = precision
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        if precision == "fp16":
            _convolve_in_half(self.network)

    def description(self, size: tuple[int, int] | None) -> dict[str, str]:
        """Metadata that a file needs so that the step can be run. size: width and height, None for any size."""
        return {
            "precision": self.precision,
            "size": json.dumps(size),
            "size_multiple": str(self.network.size_multiple),
            "draws_detail": str(self.network.draws_detail).lower(),
            "channels": str(self.network.in_channels),
            "outputs": json.dumps(self.output_names),
            "state_shapes": json.dumps(self.state_shapes),
        }

    @property
    def input_names(self) -> list[str]:
        """``frame``, ``state_0``, ..."""
        return ["frame", *(f"state_{index}" for index in range(len(self.state_shapes)))]

    @property
    def output_names(self) -> list[str]:
        """``prediction``, ``flow``, ``observed_flow``, ``confidence``, ``state_0_out``, ..."""
        return [*self._outputs, *(f"state_{index}_out" for index in range(len(self.state_shapes)))]

    def forward(self, frame: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        given = iter(state)
        whole = tuple(next(given) if kept else frame[:, :0] for kept in self._kept)
        prediction, whole = self.network.step(frame, whole)
        outputs = [getattr(prediction, OUTPUTS[name]) for name in self._outputs]
        outputs += [part for part, kept in zip(whole, self._kept, strict=True) if kept]
        return tuple(output.float() for output in outputs)

    def example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Inputs for tracing: a grey frame and an empty memory."""
        device = next(self.network.parameters()).device
        frame = torch.full((batch, self.network.in_channels, height, width), 0.5, device=device)
        return (frame, *empty_state(self.state_shapes, batch, height, width, device))


def empty_state(
    shapes: Sequence[Shape], batch: int, height: int, width: int, device: torch.device | None = None
) -> State:
    """The empty memory for frames of a size."""
    sizes = {"batch": batch, "height": height, "width": width}

    def number(size: int | str) -> int:
        if isinstance(size, int):
            return size
        name, _, divisor = size.partition("/")
        return sizes[name] // int(divisor or 1)

    return tuple(torch.zeros([number(size) for size in shape], device=device) for shape in shapes)


def named(outputs: Sequence[str], values: Sequence[Tensor]) -> tuple[Prediction, State]:
    """Sort the values of a step with these ``outputs`` into prediction and state."""
    found = zip(outputs, values, strict=True)
    parts: dict[str, Any] = {OUTPUTS[name]: value for name, value in found if name in OUTPUTS}
    return Prediction(parts["frame"], None)._replace(**parts), tuple(values[len(parts) :])


def _shape(part: Tensor, larger: Tensor, height: int, width: int) -> Shape:
    """Shape of a part of the state. ``larger`` is the same part for frames twice as high and wide."""
    sizes: list[int | str] = ["batch", *part.shape[1:]]
    for axis, (size, name) in {2: (height, "height"), 3: (width, "width")}.items():
        if axis < part.ndim and larger.shape[axis] != part.shape[axis]:
            sizes[axis] = f"{name}/{size // part.shape[axis]}"
    return tuple(sizes)


def _convolve_in_half(network: nn.Module) -> None:
    """Cast the weights and the inputs of convolutions and linear layers to float16."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.half()
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].half(),))
