"""Cost of a step."""

import pytest

from stvae_ros import zoo
from stvae_ros.evaluation.cost import step_cost


def test_step_cost_by_hand() -> None:
    cost = step_cost(zoo.create("ae-convlstm-flow"), 160, 120)
    full, half = 160 * 120, 80 * 60
    macs = full * 49 * 16 + half * (49 * 80 * 256 + 225 * 64 * 2 + 225 * 2 * 2 + 2 * 2) + full * 49 * 16
    assert cost.flops == 2 * macs
    assert cost.parameters == 1_035_067 and cost.state_bytes == 2 * 64 * half * 4


@pytest.mark.parametrize("size", [(160, 120), (64, 48)])
def test_cost_grows_with_the_area_of_the_frame(size: tuple[int, int]) -> None:
    network = zoo.create("ae-convlstm-flow")
    small, large = step_cost(network, *size), step_cost(network, 2 * size[0], 2 * size[1])
    assert large.flops == 4 * small.flops and large.state_bytes == 4 * small.state_bytes
    assert large.parameters == small.parameters == 1_035_067
