"""The perception node for one or several cameras. Robots can include this launch file in their own."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from stvae_ros.resources import profile_variable

# Arguments that are parameters of the node. An argument that is not given keeps the value of params_file.
PARAMETERS = {
    "model": (str, "Name of a shipped checkpoint (see `stvae models`), or path of a .safetensors file."),
    "device": (str, "auto, cpu or cuda:N."),
    "precision": (str, "auto, fp32, bf16 or fp16."),
    "processing_size": (list, "Width and height of the frames in the network, for example 320,240."),
    "horizon": (int, "Number of frames to look ahead, 1 to 5."),
    "num_threads": (int, "CPU threads of the network; 0 leaves some cores to other nodes."),
    "lazy": (bool, "true: rest while nobody subscribes to an output."),
    "image_transport": (str, "raw or compressed."),
    "queue": (str, "latest keeps only the newest waiting frame, for robots; all keeps every frame, for replay."),
    "cameras": (list, "Names of the cameras. With front,rear the inputs are front/image and rear/image."),
    "segmenter": (str, "Checkpoint of a semantic segmenter, with which the node labels frames itself."),
    "event_source": (str, "Input of a network that sees events: frames, images or packets."),
    "autostart": (bool, "true: configure and activate at once; false: wait for a lifecycle manager."),
    "use_sim_time": (bool, "true: use the time of /clock, from `ros2 bag play --clock` or a simulator."),
}
CHOICES = {
    "precision": ("", "auto", "fp32", "bf16", "fp16"),
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
            "Camera topic. With cameras it is a name below each, as in cameras:=front,rear image:=image_raw. "
            "With image_transport:=compressed the node subscribes to <image>/compressed.",
        ),
        "segmentation": ("segmentation", "Topic of labels to carry along. With cameras it is a name below each."),
        "detections": (
            "detections",
            "Topic of a detector's boxes to carry along. With cameras it is a name below each.",
        ),
        **{name: ("", f"{text} Default: the value in params_file.") for name, (_, text) in PARAMETERS.items()},
        "respawn": ("false", "true: start the node again when it ends."),
        "use_respawn": ("false", "The same as respawn, by the name that Nav2 uses."),
        "respawn_delay": ("2.0", "Seconds to wait before a restart."),
        "enclave": ("", "SROS 2 enclave of the node, for example /perception; see docs/security.md."),
        "log_level": ("info", "Least severe messages to log."),
    }
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=CHOICES.get(name))
        for name, (default, text) in arguments.items()
    ]
    # Without the profile, best-effort images between processes of one machine are lost. The user's own profile wins.
    file = PathJoinSubstitution([share, "config", "fastdds.xml"])
    profile = SetEnvironmentVariable(profile_variable(), EnvironmentVariable(profile_variable(), default_value=file))
    return LaunchDescription([*declared, profile, OpaqueFunction(function=start)])


def integer(name: str, text: str) -> int:
    """Convert the text of an argument. Raises ValueError with the name of the argument."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a whole number") from None


def start(context: LaunchContext) -> list[Node]:
    """Create the node from the values of the arguments."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    def is_true(name: str) -> bool:
        if value(name).lower() not in ("true", "false"):
            raise ValueError(f"{name}: {value(name)!r} is neither true nor false")
        return value(name).lower() == "true"

    if not Path(value("params_file")).is_file():
        raise ValueError(f"params_file: there is no file {value('params_file')}")

    def items(name: str) -> list[str]:
        found = [item.strip() for item in value(name).strip(" []").split(",") if item.strip()]
        if value(name) and not found:
            raise ValueError(f"{name}: {value(name)!r} is an empty list; leave the argument out for the default")
        return found

    def number(name: str) -> int:
        return integer(name, value(name))

    cameras = items("cameras")
    convert = {
        bool: is_true,
        int: number,
        list: items,
        str: lambda name: ParameterValue(value(name), value_type=str),
    }
    given = {name: convert[kind](name) for name, (kind, _) in PARAMETERS.items() if value(name)}
    if "processing_size" in given:
        given["processing_size"] = [integer("processing_size", item) for item in items("processing_size")]
    remappings = []
    for camera in cameras or [""]:
        for topic in ("image", "segmentation", "detections"):
            if camera and value(topic).startswith(("/", "~")):
                raise ValueError(f"{topic}: with cameras, {value(topic)!r} must be a name below each camera's")
            here = f"{camera}/" if camera else ""
            remappings.append((here + topic, here + value(topic)))
        remappings.append((f"{here}image/compressed", f"{here}{value('image')}/compressed"))
    enclave = ["--enclave", value("enclave")] if value("enclave") else []
    # LifecycleNode would need a ROS node in the launch process, and SROS 2 an enclave for it.
    node = Node(
        package="stvae_ros",
        executable="perception_node",
        name="perception",
        namespace=value("namespace"),
        output="screen",
        parameters=[value("params_file"), given],
        remappings=remappings,
        arguments=["--ros-args", "--log-level", value("log_level"), *enclave],
        respawn=is_true("respawn") or is_true("use_respawn"),
        respawn_delay=float(value("respawn_delay")),
    )
    return [node]
