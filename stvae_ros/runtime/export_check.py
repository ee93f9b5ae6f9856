"""Comparison of an exported step with the network itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nn.interface import FramePredictor

FRAMES = 50
"""Number of frames. Each side keeps its own memory over all of them, so that errors add up."""
TOLERANCES = {"fp32": (1e-3, 1e-2), "fp16": (1e-2, 1e-1)}
"""Largest allowed difference by precision: of the predicted frame in [0, 1], and of the flow in pixels."""


class ExportError(RuntimeError):
    """An exported step that differs from the network. The message gives the difference."""


@dataclass(frozen=True)
class Difference:
    """Difference between two networks over a number of frames.

    Attributes:
        frame: largest difference of the predicted frame, whose values are in [0, 1].
        flow: largest difference of the flow in pixels; 0 without flow.
        mean_frame, mean_flow: the means over all pixels.
    """

    frame: float
    flow: float
    mean_frame: float
    mean_flow: float

    def __str__(self) -> str:
        return (
            f"frame {self.frame:.1e} at most, {self.mean_frame:.1e} on average; "
            f"flow {self.flow:.1e} px at most, {self.mean_flow:.1e} px on average"
        )

    def check(self, precision: str) -> None:
        """Raise ExportError if the difference is larger than the precision allows."""
        frame, flow = TOLERANCES[precision]
        if not (self.frame <= frame and self.flow <= flow):  # NaN is refused, too.
            raise ExportError(f"the exported step differs: {self}; allowed in {precision}: {frame:g}, {flow:g} px")


def moving_frames(channels: int, width: int, height: int, count: int = FRAMES) -> list[Tensor]:
    """Draw ``count`` frames (1, channels, height, width) in [0, 1] of a scene with moving camera and objects."""
    scene = SyntheticScene(11, width, height, max_speed=6.0)
    frames = []
    for t in range(count):
        frame = torch.from_numpy(scene.frame(t)).permute(2, 0, 1)[None].flip(1).float() / 255
        frames.append(frame.mean(dim=1, keepdim=True) if channels == 1 else frame[:, :channels])
    return frames


@torch.inference_mode()
def difference(
    network: FramePredictor, other: FramePredictor, frames: list[Tensor], progress: Callable[[], object] = lambda: None
) -> Difference:
    """Compare two networks on the same frames, each with its own memory. ``progress`` is called after each frame."""
    height, width = frames[0].shape[-2:]
    states = [each.initial_state(1, height, width) for each in (network, other)]
    apart: dict[str, list[Tensor]] = {"frame": [], "flow": []}
    for frame in frames:
        predictions = []
        for index, each in enumerate((network, other)):
            prediction, states[index] = each.step(frame, states[index])
            predictions.append(prediction)
        for name, values in apart.items():
            one, two = (getattr(prediction, name) for prediction in predictions)
            values.append(torch.zeros(1) if one is None else (one.float().cpu() - two.float().cpu()).abs())
        progress()
    frame_apart, flow_apart = (torch.stack(values) for values in apart.values())
    largest = (frame_apart.max().item(), flow_apart.max().item())
    return Difference(*largest, frame_apart.mean().item(), flow_apart.mean().item())
