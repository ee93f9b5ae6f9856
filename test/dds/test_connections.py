"""What /diagnostics says of topics that do not come together."""

from pathlib import Path

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from robot import CAMERA_QOS, MS, Robot, small_network
from sensor_msgs.msg import CompressedImage, Image

from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.nodes.conversion import array_to_image, to_time


def test_each_cause_is_named_with_its_topic_and_remedy(tmp_path: Path) -> None:
    image = array_to_image(SyntheticScene(4, 96, 64).frame(0), "bgr8", to_time(40 * MS), "lens")
    with Robot() as robot:
        topics = ("image", "segmentation")
        overrides = {f"qos_overrides./{topic}.subscription.reliability": "reliable" for topic in topics}
        robot.start_perception(model=small_network(tmp_path), **overrides)

        def message() -> str:
            return robot.camera()[0].message

        robot.wait_for(lambda: robot.camera()[0] and message().startswith("nobody publishes /image"))
        assert robot.camera()[0].level == b"\1"
        camera = robot.node.create_publisher(CompressedImage, "/image", CAMERA_QOS)
        robot.wait_for(lambda: "sensor_msgs/msg/CompressedImage, not as sensor_msgs/msg/Image" in message())
        assert "comes from /test_robot" in message() and "image_transport" in message()
        robot.node.destroy_publisher(camera)
        camera = robot.node.create_publisher(Image, "/image", CAMERA_QOS)
        robot.wait_for(lambda: "QoS of /image is not compatible with that of its publisher /test_robot" in message())
        assert "reliab" in message().lower() and "qos_overrides./image.subscription.<policy>" in message()
        robot.node.destroy_publisher(camera)
        camera = robot.node.create_publisher(Image, "/image", 5)
        robot.wait_for(lambda: "has a publisher but no image came" in message())
        camera.publish(image)
        robot.wait_for(lambda: robot.count("frames processed") == 1)
        camera.publish(image)
        robot.wait_for(lambda: message().startswith("/image: frames with the same stamp"))
        robot.wait_for(lambda: message().startswith("no image on /image for"))

        def shown() -> str:
            robot.spin(0.2)
            image.header.stamp = robot.node.get_clock().now().to_msg()
            camera.publish(image)
            return message()

        segmenter = robot.node.create_publisher(CompressedImage, "/segmentation", CAMERA_QOS)
        robot.wait_for(lambda: "sensor_msgs/msg/CompressedImage, not as sensor_msgs/msg/Image" in shown())
        assert message().startswith("/segmentation comes from /test_robot") and message().endswith("or remap the topic")
        assert "publish labels as mono8 or mono16 images" in message()
        robot.node.destroy_publisher(segmenter)
        robot.wait_for(lambda: "/segmentation" not in shown())
        segmenter = robot.node.create_publisher(Image, "/segmentation", CAMERA_QOS)
        robot.wait_for(lambda: shown().startswith("QoS of /segmentation is not compatible with that of its"))
        assert "qos_overrides./segmentation.subscription.<policy>" in message() and robot.camera()[0].level == b"\1"
        robot.node.destroy_publisher(segmenter)
        robot.wait_for(lambda: "/segmentation" not in shown())

        late = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        listener = robot.node.create_subscription(Image, "/perception/flow", lambda message: None, late)
        status = robot.wait_for(lambda: robot.process()[0].level == b"\1" and robot.process()[0])
        assert "QoS of /perception/flow is not compatible with that of its subscriber /test_robot" in status.message
        assert "qos_overrides./perception/flow.publisher.<policy>" in status.message
        robot.node.destroy_subscription(listener)
        robot.wait_for(lambda: robot.process()[0].level == b"\0")


def test_two_nodes_of_one_name(tmp_path: Path) -> None:
    """The graph tells of the other node. When it has ended, the warning ends."""
    says = "another node has the name /perception, so parameters and services may reach the wrong one"
    with Robot() as robot, (tmp_path / "log").open("w") as log:
        robot.start_perception(output=log, model=small_network(tmp_path))

        def warns() -> bool:
            status = robot.process()[0]
            return status is not None and says in status.message and status.level == status.WARN

        assert not warns()
        twin = Node("perception", context=robot.context)
        robot.wait_for(warns)
        assert says in (tmp_path / "log").read_text()
        twin.destroy_node()
        robot.wait_for(lambda: not warns())
        other = Node("perception", namespace="other", context=robot.context)
        robot.spin(2.5)
        assert not warns()
        other.destroy_node()
