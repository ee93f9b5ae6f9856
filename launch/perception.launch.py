"""The perception node for one camera or several, ready to be included in a robot's own launch file."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    share = FindPackageShare("stvae_ros")
    arguments = {
        "namespace": ("", "Namespace of the node."),
        "params_file": (PathJoinSubstitution([share, "config", "perception.yaml"]), "YAML file of parameters."),
        "image": ("image", "Camera topic (raw). With image_transport:=compressed, <image>/compressed is read."),
        "segmentation": ("segmentation", "Topic of labels to carry along."),
        "model": ("stvae-rt-m", "Weights: a name, or the path of a .safetensors file."),
        "device": ("auto", "auto, cpu or cuda:N."),
        "image_transport": ("raw", "raw or compressed."),
        "autostart": ("true", "Configure and activate at once; false waits for a lifecycle manager."),
        "use_sim_time": ("false", "Take the time from /clock."),
        "log_level": ("info", "debug, info, warn, error or fatal."),
    }
    declared = [DeclareLaunchArgument(name, default_value=d, description=text) for name, (d, text) in arguments.items()]
    value = {name: LaunchConfiguration(name) for name in arguments}
    # Without the profile, best-effort images between processes of one machine are lost. A profile of the user's wins.
    profile = SetEnvironmentVariable(
        "FASTRTPS_DEFAULT_PROFILES_FILE",
        EnvironmentVariable(
            "FASTRTPS_DEFAULT_PROFILES_FILE", default_value=PathJoinSubstitution([share, "config", "fastdds.xml"])
        ),
    )
    node = LifecycleNode(
        package="stvae_ros",
        executable="perception_node",
        name="perception",
        namespace=value["namespace"],
        output="screen",
        parameters=[
            value["params_file"],
            {
                "model": value["model"],
                "device": value["device"],
                "image_transport": value["image_transport"],
                "autostart": ParameterValue(value["autostart"], value_type=bool),
                "use_sim_time": ParameterValue(value["use_sim_time"], value_type=bool),
            },
        ],
        remappings=[
            ("image", value["image"]),
            ("image/compressed", [value["image"], "/compressed"]),
            ("segmentation", value["segmentation"]),
        ],
        arguments=["--ros-args", "--log-level", value["log_level"]],
    )
    return LaunchDescription([*declared, profile, node])
