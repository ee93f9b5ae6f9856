"""What the ids on ~/labels mean: vision_msgs/LabelInfo, where that package is installed."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from stvae_ros.visualization.label_colors import ClassTable

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # or older than 4.1
    LabelInfo = VisionClass = None

_LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def label_info(classes: ClassTable, stamp: Time) -> Any:
    """The class table as a vision_msgs/LabelInfo."""
    message = LabelInfo(class_map=[])
    message.header.stamp = stamp
    for number, name in sorted(classes.names.items()):
        message.class_map.append(VisionClass(class_id=number, class_name=name))
    return message


def publish_label_info(node: LifecycleNode, classes: ClassTable) -> Publisher | None:
    """Publish the class table once, for all who come later too, on ~/label_info; None without vision_msgs."""
    if LabelInfo is None:
        return None
    publisher = node.create_publisher(LabelInfo, "~/label_info", _LATCHED)
    publisher.publish(label_info(classes, node.get_clock().now().to_msg()))
    return publisher
