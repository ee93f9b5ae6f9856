"""The node at work: a video or the built-in scene as camera, the perception node, and a recorder."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node, SetParameter
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    arguments = {
        "video": ("synthetic", "Video file, folder of images, webcam:N, or synthetic."),
        "frames": ("300", "Frames to show."),
        "rate": ("0.0", "Frames a second; 0 takes the video's own, and 15 for the synthetic scene."),
        "model": ("stvae-rt-m", "Weights: a name, or the path of a .safetensors file."),
        "namespace": ("", "Namespace of all three nodes."),
        "output": ("demo", "Folder for demo.mp4, demo.png and metrics.json."),
    }
    declared = [DeclareLaunchArgument(name, default_value=d, description=text) for name, (d, text) in arguments.items()]
    frames = ParameterValue(LaunchConfiguration("frames"), value_type=int)
    video = ParameterValue(LaunchConfiguration("video"), value_type=str)
    namespace = LaunchConfiguration("namespace")
    is_scene = ["'''", LaunchConfiguration("video"), "''' == 'synthetic'"]
    rate = PythonExpression(["float(", LaunchConfiguration("rate"), ") or (15.0 if ", *is_scene, " else 0.0)"])
    scene = PathJoinSubstitution([FindPackageShare("stvae_ros"), "config", "labels-scene.yaml"])
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("stvae_ros"), "launch", "perception.launch.py"])
        ),
        launch_arguments={"model": LaunchConfiguration("model")}.items(),
    )
    recorder = Node(
        package="stvae_ros",
        executable="demo_recorder",
        namespace=namespace,
        output="screen",
        parameters=[
            {
                "output": ParameterValue(LaunchConfiguration("output"), value_type=str),
                "frames": frames,
                "title": video,
            }
        ],
    )
    camera = Node(
        package="stvae_ros",
        executable="video_publisher",
        namespace=namespace,
        output="screen",
        parameters=[
            {
                "source": video,
                "frames": frames,
                "rate": ParameterValue(rate, value_type=float),
                "wait_for_subscribers": 2,
                "width": 320,
                "height": 240,
                "max_speed": 4.0,
                "label_rate": 2.0,
            }
        ],
    )
    finish = RegisterEventHandler(
        OnProcessExit(target_action=recorder, on_exit=[EmitEvent(event=Shutdown(reason="the demo is over"))])
    )
    classes = SetParameter("label_classes", scene)
    return LaunchDescription([*declared, classes, perception, recorder, camera, finish])
