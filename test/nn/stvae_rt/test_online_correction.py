"""What is learnt from a camera's own frames: the surprises that can be expected."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stvae_ros.nn.stvae_rt.online_correction import RlsState, expected_innovation, initial_correction

COUNTS = torch.ones(1, 1, 6, 8)


def flow(x: float, y: float = 0.0) -> Tensor:
    return torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 6, 8).contiguous()


def show(observed: list[Tensor], predicted: list[Tensor], counts: Tensor = COUNTS) -> list[Tensor]:
    """Changes of the predictions, as the flows come in."""
    changes = []
    state: RlsState = initial_correction(len(counts), 6, 8, torch.device("cpu"))
    for index, (seen, expected) in enumerate(zip(observed, predicted, strict=True)):
        change, state = expected_innovation(seen, expected, counts * (index > 0), 8, state)
        changes.append(change)
    return changes


def errors(observed: list[Tensor], predicted: list[Tensor]) -> np.ndarray:
    """Of each prediction for the frame that follows, in pixels."""
    pairs = zip(predicted, observed[1:], strict=False)
    return np.array([float(torch.linalg.vector_norm(a - b, dim=1).mean()) for a, b in pairs])


@pytest.mark.parametrize(
    "speeds",
    [[3.0, 5.0] * 10, [3.0, 3.0, 5.0, 5.0] * 5, [0.5 * index for index in range(20)]],
    ids=["fast and slow in turn", "a swing", "ever faster"],
)
def test_what_repeats_is_expected(speeds: list[float]) -> None:
    observed = [flow(speed) for speed in speeds]
    changes = show(observed, observed)
    better = [a + b for a, b in zip(observed, changes, strict=True)]
    assert errors(observed, better)[-6:].mean() < 0.35 * errors(observed, observed)[-6:].mean()


def test_chance_is_not_expected() -> None:
    rng = np.random.default_rng(0)
    observed = [flow(4 + x, y) for x, y in rng.normal(0, 1, (80, 2))]
    changes = show(observed, [flow(4)] * 80)
    size = np.mean([float(torch.linalg.vector_norm(change, dim=1).mean()) for change in changes[20:]])
    assert size < 0.35, "of surprises of 1.25 px"


def test_a_wild_frame_is_soon_forgiven() -> None:
    observed = [flow(speed) for speed in (3.0, 5.0) * 14]
    observed[12] = flow(-60.0, 40.0)
    changes = show(observed, [flow(4)] * 28)
    better = [flow(4) + change for change in changes]
    assert errors(observed, better)[16:].max() < 0.5, "of 1 px; the two frames that follow the wild one may be off"


def test_stillness_is_left_alone() -> None:
    assert not torch.stack(show([flow(0)] * 5, [flow(0)] * 5)).any()


def test_what_does_not_count_teaches_nothing() -> None:
    observed = [flow(speed) for speed in (3.0, 5.0) * 5]
    assert not torch.stack(show(observed, observed, 0 * COUNTS)).any()


def test_each_camera_has_its_own_evidence() -> None:
    turns, steady = [flow(speed) for speed in (3.0, 5.0) * 6], [flow(4, 1)] * 12
    both = show(
        [torch.cat(pair) for pair in zip(turns, steady, strict=True)],
        [torch.cat(pair) for pair in zip(turns, steady, strict=True)],
        COUNTS.repeat(2, 1, 1, 1),
    )
    torch.testing.assert_close(both[-1][:1], show(turns, turns)[-1])
    torch.testing.assert_close(both[-1][1:], show(steady, steady)[-1])
