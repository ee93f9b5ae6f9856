"""An example: one perception node beside the drivers of two cameras. Here, video_publisher stands for the drivers."""

from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.substitutions import FindPackageShare

CAMERAS = ("front", "rear")


def generate_launch_description() -> LaunchDescription:
    # Included first, it gives the drivers after it the Fast DDS profile for images, too.
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("stvae_ros"), "launch", "perception.launch.py"])
        ),
        launch_arguments={"cameras": ",".join(CAMERAS), "image": "image_raw"}.items(),
    )
    # A real driver's launch file is included in place of the node, and publishes front/image_raw and rear/image_raw.
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
