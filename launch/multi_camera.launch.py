"""Example: one perception node beside the drivers of two cameras. video_publisher stands for the drivers."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.substitutions import FindPackageShare

CAMERAS = ("front", "rear")


def generate_launch_description() -> LaunchDescription:
    image = DeclareLaunchArgument("image", default_value="image_raw", description="Camera topic below each camera.")
    # It is included first, because it sets the Fast DDS profile for the drivers, too.
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("stvae_ros"), "launch", "perception.launch.py"])
        ),
        launch_arguments={"cameras": ",".join(CAMERAS), "image": LaunchConfiguration("image")}.items(),
    )
    # Replace the node by the launch file of a real driver, which publishes front/image_raw and rear/image_raw.
    drivers = [
        GroupAction(
            [
                PushRosNamespace(camera),
                Node(
                    package="stvae_ros",
                    executable="video_publisher",
                    output="screen",
                    parameters=[{"rate": 10.0, "width": 320, "height": 240, "seed": seed, "frame_id": camera}],
                    remappings=[("image", LaunchConfiguration("image"))],
                ),
            ]
        )
        for seed, camera in enumerate(CAMERAS)
    ]
    return LaunchDescription([image, perception, *drivers])
