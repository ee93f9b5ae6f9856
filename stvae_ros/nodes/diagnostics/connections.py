"""Connection problems of topics: missing publishers, other message types, incompatible QoS."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo


def input_problem(node: Node, subscription: Subscription) -> str | None:
    """The reason why a subscription gets no messages, with the remedy; None if there is no problem."""
    topic = subscription.topic_name
    if not node.count_publishers(topic):
        return f"nobody publishes {topic}: start the camera or remap its topic"
    return _misfit(node, subscription, "set image_transport")


def labels_problem(node: Node, subscription: Subscription) -> str | None:
    """Like `input_problem`, for labels, which need no publisher."""
    return _misfit(node, subscription, "publish labels as mono8 or mono16 images")


def detections_problem(node: Node, topic: str, subscription: Subscription | None) -> str | None:
    """Like `input_problem`, for detections, which need no publisher. ``subscription`` is None without vision_msgs."""
    if subscription is not None:
        return _misfit(node, subscription, "publish vision_msgs/msg/Detection2DArray")
    if not node.count_publishers(topic):
        return None
    return f"{topic} cannot be read without vision_msgs: install ros-$ROS_DISTRO-vision-msgs and start the node again"


def _misfit(node: Node, subscription: Subscription, remedy: str) -> str | None:
    """The reason why no publisher matches, with the remedy; None if one matches, or if there is none.

    Args:
        node: of the subscription.
        subscription: to check.
        remedy: for messages of another type, besides remapping.
    """
    topic = subscription.topic_name
    publishers = node.get_publishers_info_by_topic(topic)
    wanted = _type_name(subscription.msg_type)
    fitting = [publisher for publisher in publishers if publisher.topic_type == wanted]
    if publishers and not fitting:
        other = publishers[0]
        return (
            f"{topic} comes from {_node_of(other)} as {other.topic_type}, not as {wanted}: {remedy}, or remap the topic"
        )
    reasons = [(publisher, _mismatch(publisher.qos_profile, subscription.qos_profile)) for publisher in fitting]
    if reasons and all(reason for _, reason in reasons):
        publisher, reason = reasons[0]
        return (
            f"QoS of {topic} is not compatible with that of its publisher {_node_of(publisher)} ({reason}): change the "
            f"publisher's, or set qos_overrides.{topic}.subscription.<policy> of this node"
        )
    return None


def output_problem(node: Node, publisher: Publisher) -> str | None:
    """The subscriber that gets no messages because of its QoS, with the remedy; None if there is none."""
    topic = publisher.topic_name
    for subscriber in node.get_subscriptions_info_by_topic(topic):
        reason = _mismatch(publisher.qos_profile, subscriber.qos_profile)
        if reason:
            return (
                f"QoS of {topic} is not compatible with that of its subscriber {_node_of(subscriber)} ({reason}): "
                f"change the subscriber's, or set qos_overrides.{topic}.publisher.<policy> of this node"
            )
    return None


def clock_problem(node: Node) -> str | None:
    """The reason why simulated time stands still, with the remedy; None if it runs or is not used."""
    if node.get_parameter("use_sim_time").value and node.get_clock().now().nanoseconds == 0:
        return "use_sim_time is true, but nothing comes on /clock: play the bag with --clock, or set it to false"
    return None


def _mismatch(offered: QoSProfile, requested: QoSProfile) -> str:
    """The reason why two QoS profiles are incompatible; empty if they are compatible."""
    compatibility, reason = qos_check_compatible(offered, requested)
    return reason.rstrip("; ") if compatibility == QoSCompatibility.ERROR else ""


def _node_of(endpoint: TopicEndpointInfo) -> str:
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"


def _type_name(kind: Any) -> str:
    """Name of a message type in the ROS graph, for example sensor_msgs/msg/Image."""
    package = kind.__module__.split(".", 1)[0]
    return f"{package}/msg/{kind.__name__}"
