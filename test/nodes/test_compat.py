"""What the rclpy of Humble lacks, done without it."""

import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue, SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.node import Node
from robot import Robot

from stvae_ros.nodes.compat import after_setting_parameters


@pytest.mark.parametrize("is_humble", [False, True])
def test_a_callback_after_parameters_are_set(is_humble: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_humble:
        monkeypatch.delattr(Node, "add_post_set_parameters_callback", raising=False)

    def number(value: int) -> Parameter:
        return Parameter(name="x", value=ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value))

    with Robot() as robot:
        node = Node("subject", context=robot.context)
        robot.executor.add_node(node)
        node.declare_parameter("x", 0)
        node.add_on_set_parameters_callback(lambda wanted: SetParametersResult(successful=wanted[0].value < 5))
        told = []
        after_setting_parameters(node, lambda done: told.append((done[0].value, node.get_parameter("x").value)))
        one = robot.call(SetParameters, "/subject/set_parameters", parameters=[number(1)])
        refused = robot.call(SetParameters, "/subject/set_parameters", parameters=[number(7)])
        two = robot.call(SetParametersAtomically, "/subject/set_parameters_atomically", parameters=[number(2)])
        assert one.results[0].successful and not refused.results[0].successful and two.result.successful
        assert told == [(1, 1), (2, 2)], "each once, when the node has it, and none that was refused"
        node.destroy_node()
