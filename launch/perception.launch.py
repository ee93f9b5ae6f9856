"""The perception node for one camera or several, ready to be included in a robot's own launch file."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from stvae_ros.resources import profile_variable

# Arguments that are parameters of the node: one that is not given keeps what params_file says.
PARAMETERS = {
    "model": (str, "Weights: a name that `stvae models` lists, or the path of a .safetensors file."),
    "device": (str, "auto, cpu or cuda:N."),
    "image_transport": (str, "raw or compressed."),
    "queue": (str, "latest drops frames that come too fast, for robots; all keeps every frame, for replay."),
    "cameras": (list, "Names of cameras, as in front,rear: the inputs are front/image and rear/image."),
    "segmenter": (str, "Weights of a semantic segmenter for the node to label frames itself."),
    "event_source": (str, "What a network that sees events is shown: frames, images or packets."),
    "autostart": (bool, "true: configure and activate at once; false: wait for a lifecycle manager."),
    "use_sim_time": (bool, "true: take the time from /clock, as with `ros2 bag play --clock` or a simulator."),
}
CHOICES = {
    "image_transport": ("", "raw", "compressed"),
    "queue": ("", "latest", "all"),
    "event_source": ("", "frames", "images", "packets"),
    "log_level": ("debug", "info", "warn", "error", "fatal"),
}


def generate_launch_description() -> LaunchDescription:
    share = FindPackageShare("stvae_ros")
    arguments = {
        "namespace": ("", "Namespace of the node and of its relative topics."),
        "params_file": (PathJoinSubstitution([share, "config", "perception.yaml"]), "YAML file of parameters."),
        "image": (
            "image",
            "Camera topic; with cameras its name below each, as in cameras:=front,rear image:=image_raw. "
            "With image_transport:=compressed, <image>/compressed is read.",
        ),
        "segmentation": ("segmentation", "Topic of labels to carry along; with cameras its name below each."),
        **{name: ("", f"{text} Not given: as in params_file.") for name, (_, text) in PARAMETERS.items()},
        "respawn": ("false", "true: start the node again when it dies."),
        "respawn_delay": ("2.0", "Seconds to wait before that."),
        "enclave": ("", "SROS 2 enclave of the node, as in /perception: docs/security.md."),
        "log_level": ("info", "Least severe messages to log."),
    }
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=CHOICES.get(name))
        for name, (default, text) in arguments.items()
    ]
    # Without the profile, best-effort images between processes of one machine are lost. A profile of the user's wins.
    file = PathJoinSubstitution([share, "config", "fastdds.xml"])
    profile = SetEnvironmentVariable(profile_variable(), EnvironmentVariable(profile_variable(), default_value=file))
    return LaunchDescription([*declared, profile, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Node]:
    """The node, once the values of the arguments are known."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    def is_true(name: str) -> bool:
        if value(name).lower() not in ("true", "false"):
            raise ValueError(f"{name}: {value(name)!r} is neither true nor false")
        return value(name).lower() == "true"

    if not Path(value("params_file")).is_file():
        raise ValueError(f"params_file: there is no file {value('params_file')}")
    cameras = [name.strip() for name in value("cameras").strip(" []").split(",") if name.strip()]
    convert = {bool: is_true, list: lambda name: cameras, str: lambda name: ParameterValue(value(name), value_type=str)}
    given = {name: convert[kind](name) for name, (kind, _) in PARAMETERS.items() if value(name)}
    remappings = []
    for camera in cameras or [""]:
        for topic in ("image", "segmentation"):
            if camera and value(topic).startswith(("/", "~")):
                raise ValueError(f"{topic}: with cameras, {value(topic)!r} must be a name below each camera's")
            here = f"{camera}/" if camera else ""
            remappings.append((here + topic, here + value(topic)))
        remappings.append((f"{here}image/compressed", f"{here}{value('image')}/compressed"))
    enclave = ["--enclave", value("enclave")] if value("enclave") else []
    # Node, not LifecycleNode: it needs no ROS node in the launch process, which SROS 2 would want an enclave for.
    node = Node(
        package="stvae_ros",
        executable="perception_node",
        name="perception",
        namespace=value("namespace"),
        output="screen",
        parameters=[value("params_file"), given],
        remappings=remappings,
        arguments=["--ros-args", "--log-level", value("log_level"), *enclave],
        respawn=is_true("respawn"),
        respawn_delay=float(value("respawn_delay")),
    )
    return [node]
