"""What /diagnostics says of topics that do not come together."""

from pathlib import Path

from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from robot import CAMERA_QOS, MS, Robot, small_network
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

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
        planner = Node("planner", context=robot.context)
        for listener in (planner, robot.node):  # One that does not fit, and then one that does.
            qos = late if listener is planner else 1
            listener.create_subscription(Image, "/perception/flow", lambda message: None, qos)
            status = robot.wait_for(lambda: robot.process()[0].level == b"\1" and robot.process()[0])
            robot.spin(2.5)
        status = robot.process()[0]
        assert "QoS of /perception/flow is not compatible with that of its subscriber /planner" in status.message
        assert "(ERROR: Volatile publisher and transient local subscription)" in status.message, (
            "what nobody set is fine"
        )
        assert "qos_overrides./perception/flow.publisher.<policy>" in status.message
        planner.destroy_node()
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
        robot.wait_for(lambda: says in (tmp_path / "log").read_text())
        twin.destroy_node()
        robot.wait_for(lambda: not warns())
        other = Node("perception", namespace="other", context=robot.context)
        robot.spin(2.5)
        assert not warns()
        other.destroy_node()
        other = Context()  # One participant of DDS takes one type for a topic.
        other.init(domain_id=robot.domain)
        viewer = Node("viewer", context=other)
        viewer.create_subscription(CompressedImage, "/perception/flow", lambda message: None, 1)
        robot.wait_for(
            lambda: "/viewer expects /perception/flow as sensor_msgs/msg/CompressedImage" in robot.process()[0].message
        )
        viewer.destroy_node()
        other.shutdown()
        robot.wait_for(lambda: robot.process()[0].level == b"\0")


def test_every_policy_that_a_message_names_can_be_overridden(tmp_path: Path) -> None:
    flow = "qos_overrides./perception/flow.publisher"
    overrides = {f"{flow}.durability": "transient_local", f"{flow}.deadline": 500_000_000, f"{flow}.depth": 7}
    with Robot() as robot:
        robot.start_perception(model=small_network(tmp_path), num_threads=1, **overrides)
        durable = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, deadline=Duration(seconds=1))
        robot.listen("/perception/flow", qos=durable)
        surprise = robot.node.create_subscription(Image, "/perception/surprise", lambda message: None, durable)
        status = robot.wait_for(lambda: robot.process()[0].level == b"\1" and robot.process()[0])
        assert "/perception/surprise" in status.message, "the overrides are for one topic, and that one has no problem"
        offered = robot.node.get_publishers_info_by_topic("/perception/flow")[0].qos_profile
        assert offered.durability == DurabilityPolicy.TRANSIENT_LOCAL and offered.deadline.nanoseconds == 500_000_000
        robot.node.destroy_subscription(surprise)
        robot.show(SyntheticScene(4, 96, 64).frame(0), 40 * MS)
        robot.wait_for(lambda: robot.messages["/perception/flow"])


def test_compressed_images_follow_a_plain_remapping(tmp_path: Path) -> None:
    options = {"image_transport": "compressed", "model": str(small_network(tmp_path)), "num_threads": 1}
    with Robot() as robot:
        robot.start("perception_node", remap=("image:=/camera/image_raw",), **options)
        robot.start("video_publisher", remap=("image:=/camera/image_raw",), compressed=True, width=96, height=64)
        robot.wait_for(lambda: robot.count("frames processed") > 0, 60)
        assert robot.camera()[1]["topic"] == "/camera/image_raw/compressed"
    with Robot() as robot:
        rules = ("image:=/camera/image_raw", "image/compressed:=/camera/jpeg")
        robot.start("perception_node", remap=rules, **options)
        robot.wait_for(lambda: robot.camera()[0], 60)
        assert robot.camera()[1]["topic"] == "/camera/jpeg", "a rule for the very topic counts more"


def test_a_wrong_topic_is_named_in_the_log_with_what_the_graph_has(tmp_path: Path) -> None:
    with Robot() as robot:
        with (tmp_path / "log").open("w") as log:
            robot.start(
                "perception_node", remap=("image:=/camera/image_raw",), output=log, model=small_network(tmp_path)
            )
        robot.wait_for(lambda: robot.camera()[0], 60)
        assert robot.camera()[0].message == "nobody publishes /camera/image_raw: start the camera or remap its topic"
        other = robot.node.create_publisher(Image, "/rear/image", 1)
        wanted = "nobody publishes /camera/image_raw: start the camera or remap its topic; images are on /rear/image"
        robot.wait_for(lambda: robot.camera()[0].message == wanted)
        robot.wait_for(lambda: f"[perception]: {wanted}" in (tmp_path / "log").read_text())
        robot.spin(2.0)
        assert (tmp_path / "log").read_text().count(wanted) == 1
        compressed = robot.node.create_publisher(CompressedImage, "/camera/image_raw/compressed", 1)
        robot.wait_for(
            lambda: robot.camera()[0].message.endswith(
                "/camera/image_raw/compressed is published, so set image_transport:=compressed"
            )
        )
        assert robot.call(SetBool, "/perception/enable", data=False).success
        robot.wait_for(lambda: robot.camera()[0].message == "disabled: images are ignored; call ~/enable with true")
        for publisher in (other, compressed):
            robot.node.destroy_publisher(publisher)


def test_a_node_that_nobody_activates_says_so(tmp_path: Path) -> None:
    with Robot() as robot:
        with (tmp_path / "log").open("w") as log:
            robot.start("perception_node", output=log, autostart=False)
        wanted = (
            "unconfigured: not running; `ros2 lifecycle set /perception configure` and then `activate`, or start it "
        )
        robot.wait_for(lambda: f"[perception]: {wanted}" in (tmp_path / "log").read_text(), 60)
