"""Connection problems of topics: missing publishers, other message types, incompatible QoS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

_IMAGES = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}
_MOST_NAMED = 5


def input_problem(node: Node, subscription: Subscription) -> str | None:
    """The reason why a subscription gets no messages, with the remedy; None if there is no problem."""
    topic = subscription.topic_name
    if not node.count_publishers(topic):
        return _nobody_publishes(node, topic)
    return _misfit(node, subscription, "set image_transport")


def _nobody_publishes(node: Node, topic: str) -> str:
    """The sentence for an image topic without publisher, with a remedy from what the graph has instead."""
    raw = topic.removesuffix("/compressed")
    if raw != topic and node.count_publishers(raw):
        return f"nobody publishes {topic}: {raw} is published, so set image_transport:=raw"
    if raw == topic and node.count_publishers(f"{topic}/compressed"):
        return f"nobody publishes {topic}: {topic}/compressed is published, so set image_transport:=compressed"
    own = node.get_fully_qualified_name() + "/"
    others = [
        name
        for name, kinds in node.get_topic_names_and_types()
        if not _IMAGES.isdisjoint(kinds) and not name.startswith(own) and node.count_publishers(name)
    ]
    published = f"; images are on {', '.join(sorted(others)[:_MOST_NAMED])}" if others else ""
    return f"nobody publishes {topic}: start the camera or remap its topic" + published


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
    mine = _own(node, node.get_subscriptions_info_by_topic(topic))
    reasons = [(publisher, _mismatch(publisher, mine)) for publisher in fitting]
    if reasons and all(reason for _, reason in reasons):
        publisher, reason = reasons[0]
        return (
            f"QoS of {topic} is not compatible with that of its publisher {_node_of(publisher)} ({reason}): change the "
            f"publisher's, or start this node with qos_overrides.{topic}.subscription.<policy>"
        )
    return None


def output_problem(node: Node, publisher: Publisher) -> str | None:
    """The subscriber that gets no messages because of its type or QoS, with the remedy; None if there is none."""
    topic, kind = publisher.topic_name, _type_name(publisher.msg_type)
    mine = _own(node, node.get_publishers_info_by_topic(topic))
    for subscriber in node.get_subscriptions_info_by_topic(topic):
        if subscriber.topic_type != kind:
            return f"{_node_of(subscriber)} expects {topic} as {subscriber.topic_type}, not as {kind}: change its type"
        reason = _mismatch(mine, subscriber)
        if reason:
            return (
                f"QoS of {topic} is not compatible with that of its subscriber {_node_of(subscriber)} ({reason}): "
                f"change the subscriber's, or start this node with qos_overrides.{topic}.publisher.<policy>"
            )
    return None


def clock_problem(node: Node) -> str | None:
    """The reason why simulated time stands still, with the remedy; None if it runs or is not used."""
    if node.get_parameter("use_sim_time").value and node.get_clock().now().nanoseconds == 0:
        return "use_sim_time is true, but nothing comes on /clock: play the bag with --clock, or set it to false"
    return None


def camera_info_problem(node: Node, subscription: Subscription) -> str | None:
    """Like `input_problem`, for the camera_info that somebody wants."""
    topic = subscription.topic_name
    if not node.count_publishers(topic):
        return f"nobody publishes {topic}, so ~/camera_info is silent: calibrate the camera, or remap camera_info"
    return _misfit(node, subscription, "remap camera_info")


def name_problem(node: Node) -> str | None:
    """A sentence if another node has the same full name, with the remedy; None if there is none."""
    name, namespace = node.get_name(), node.get_namespace()
    if node.get_node_names_and_namespaces().count((name, namespace)) < 2:
        return None
    return (
        f"another node has the name {node.get_fully_qualified_name()}, so parameters and services may reach the wrong "
        "one: start one of them with another name (-r __node:=NAME) or namespace (-r __ns:=/NAME)"
    )


def _own(node: Node, endpoints: Iterable[TopicEndpointInfo]) -> TopicEndpointInfo | None:
    """This node's own endpoint as the others see it: with durations that nobody set as infinite, not as 0."""
    name = node.get_fully_qualified_name()
    return next((endpoint for endpoint in endpoints if _node_of(endpoint) == name), None)


def _mismatch(offered: TopicEndpointInfo | None, requested: TopicEndpointInfo | None) -> str:
    """The reason why two endpoints are incompatible by QoS; empty if they are compatible or one is not known yet."""
    if offered is None or requested is None:
        return ""
    compatibility, reason = qos_check_compatible(offered.qos_profile, requested.qos_profile)
    return reason.rstrip("; ") if compatibility == QoSCompatibility.ERROR else ""


def _node_of(endpoint: TopicEndpointInfo) -> str:
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"


def _type_name(kind: Any) -> str:
    """Name of a message type in the ROS graph, for example sensor_msgs/msg/Image."""
    package = kind.__module__.split(".", 1)[0]
    return f"{package}/msg/{kind.__name__}"
