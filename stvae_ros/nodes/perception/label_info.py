"""The names of the class ids on ~/labels, as vision_msgs/LabelInfo, if that package is installed."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from stvae_ros.nodes.perception.qos import overridable
from stvae_ros.visualization.label_colors import ClassTable

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # missing, or older than 4.1
    LabelInfo = VisionClass = None


def label_info(classes: ClassTable, stamp: Time) -> Any:
    """Convert the class table to a vision_msgs/LabelInfo."""
    message = LabelInfo(class_map=[])
    message.header.stamp = stamp
    for number, name in sorted(classes.names.items()):
        message.class_map.append(VisionClass(class_id=number, class_name=name))
    return message


def publish_label_info(node: LifecycleNode, classes: ClassTable) -> Publisher | None:
    """Publish the class table on ~/label_info, latched. Returns None without vision_msgs."""
    if LabelInfo is None:
        return None
    latched = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = node.create_publisher(LabelInfo, "~/label_info", latched, qos_overriding_options=overridable())
    publisher.publish(label_info(classes, node.get_clock().now().to_msg()))
    return publisher
