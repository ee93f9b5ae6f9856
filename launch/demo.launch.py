"""Demo: a video or a built-in 3-D scene as camera, the perception node, and a recorder."""

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node, SetParameter
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from stvae_ros.data.scenes.names import DEMO, is_scene
from stvae_ros.events.readers import is_event_file

ARGUMENTS = {
    "video": (
        DEMO,
        "Video file, folder of images, webcam:N, a scene (scene3d:PLACE:MOTION or synthetic), or with input:=events an "
        "event recording.",
    ),
    "input": ("frames", "events: show the camera or the recording as events."),
    "frames": ("300", "Number of frames."),
    "rate": ("0.0", "Frame rate in Hz; 0 is the rate of the video, and 15 for a scene."),
    "model": (
        "",
        "Name of a shipped checkpoint, or path of a .safetensors file. Default: stvae-rt-m, with input:=events "
        "stvae-rt-s-events.",
    ),
    "namespace": ("", "Namespace of all three nodes."),
    "output": ("demo", "Folder for demo.webm, demo.png and metrics.json."),
}


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=text, choices=("frames", "events") if name == "input" else None
        )
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Action]:
    """Create the nodes from the values of the arguments."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    events, is_recording = value["input"] == "events", is_event_file(value["video"])
    if is_recording and not events:
        raise ValueError(f"video: {value['video']} holds events: add input:=events")
    video = ParameterValue(value["video"], value_type=str)
    rate = float(value["rate"]) or (15.0 if is_scene(value["video"]) else 0.0)
    share = FindPackageShare("stvae_ros")
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([share, "launch", "perception.launch.py"])),
        launch_arguments={
            "model": value["model"] or ("stvae-rt-s-events" if events else "stvae-rt-m"),
            "event_source": "images" if is_recording else "",
        }.items(),
    )
    recorder = Node(
        package="stvae_ros",
        executable="demo_recorder",
        namespace=value["namespace"],
        output="screen",
        parameters=[
            {
                "output": ParameterValue(value["output"], value_type=str),
                "frames": int(value["frames"]),
                "input": value["input"],
                "title": video,
            }
        ],
    )
    camera = Node(
        package="stvae_ros",
        executable="video_publisher",
        namespace=value["namespace"],
        output="screen",
        parameters=[
            {
                "source": video,
                "frames": int(value["frames"]),
                "rate": rate,
                "wait_for_subscribers": 2,
                "width": 320,
                "height": 240,
                "label_rate": 0.0 if events else 2.0,
            }
        ],
    )
    finish = RegisterEventHandler(
        OnProcessExit(target_action=recorder, on_exit=[EmitEvent(event=Shutdown(reason="the demo is over"))])
    )
    classes = SetParameter("label_classes", PathJoinSubstitution([share, "config", "labels-scene.yaml"]))
    return [classes, perception, recorder, camera, finish]
