"""Compatibility with rclpy of ROS 2 Humble, which lacks some functions and has others under another name."""

from __future__ import annotations

from collections.abc import Callable

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

try:
    from rclpy.clock_type import ClockType
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.clock import ClockType  # type: ignore[attr-defined]
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = ["ClockType", "PublisherEventCallbacks", "SubscriptionEventCallbacks", "after_setting_parameters"]


def after_setting_parameters(node: Node, callback: Callable[[list[Parameter]], None]) -> None:
    """Call ``callback`` after parameters were set by the node's services or by `set_parameters_atomically`."""
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_post_set_parameters_callback(callback)
        return
    set_atomically = node.set_parameters_atomically  # The parameter services of Humble call this for every change.

    def set_and_tell(parameters: list[Parameter]) -> SetParametersResult:
        result = set_atomically(parameters)
        if result.successful:
            callback(parameters)
        return result

    node.set_parameters_atomically = set_and_tell  # type: ignore[assignment, method-assign]
