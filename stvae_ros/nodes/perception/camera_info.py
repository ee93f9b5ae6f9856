"""The camera_info of one camera: taken from the driver, and published again with the headers of the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from stvae_ros.nodes.perception.camera import Camera


def input_topic(node: Node, camera: Camera, image_topic: str) -> str:
    """Name of the camera_info topic of a camera.

    As in image_transport it lies beside the image: /camera/image_raw has /camera/camera_info. A remapping of
    ``camera_info`` takes precedence.

    Args:
        node: that subscribes.
        camera: its name gives the relative topic.
        image_topic: full name of the topic of the images, without the name of a transport.
    """
    name = camera.topic("camera_info")
    resolved = node.resolve_topic_name(name)
    if resolved != node.resolve_topic_name(name, only_expand=True):
        return resolved
    return f"{image_topic.rpartition('/')[0]}/camera_info"


def size_of_images(info: CameraInfo) -> tuple[int, int]:
    """Height and width of the images that a calibration describes: its region of interest, after binning."""
    roi, size = info.roi, (info.height, info.width)
    # A region of zeros is the full resolution, and a binning of 0 is none.
    height, width = (roi.height, roi.width) if roi.height and roi.width else size
    return height // max(info.binning_y, 1), width // max(info.binning_x, 1)


def camera_info_messages(info: CameraInfo, headers: Iterable[Header]) -> Iterator[CameraInfo]:
    """Yield ``info`` once for each different header. It is the same message, with another header each time."""
    seen = set()
    for header in headers:
        stamp = header.stamp.sec, header.stamp.nanosec
        if stamp not in seen:
            seen.add(stamp)
            info.header = header
            yield info


def mismatch(info: CameraInfo, height: int, width: int) -> str | None:
    """The reason why a calibration does not fit images of ``height`` x ``width`` pixels; None if it fits."""
    expected = size_of_images(info)
    if expected == (height, width):
        return None
    return (
        f"the calibration is for images of {expected[1]}x{expected[0]}, and they have {width}x{height}: it is not "
        "published; calibrate the camera at this size, or set the driver to the calibrated size"
    )
