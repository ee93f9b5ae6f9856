"""Example: one perception node beside the drivers of two cameras. video_publisher stands for the drivers."""

from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.substitutions import FindPackageShare

CAMERAS = ("front", "rear")


def generate_launch_description() -> LaunchDescription:
    # It is included first, because it sets the Fast DDS profile for the drivers, too.
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("stvae_ros"), "launch", "perception.launch.py"])
        ),
        launch_arguments={"cameras": ",".join(CAMERAS), "image": "image_raw"}.items(),
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
                    remappings=[("image", "image_raw")],
                ),
            ]
        )
        for seed, camera in enumerate(CAMERAS)
    ]
    return LaunchDescription([perception, *drivers])
