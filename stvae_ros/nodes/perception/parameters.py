"""The parameters of the perception node: one table for declaration, validation and documentation."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from stvae_ros.runtime.device import check_device


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter.

    Attributes:
        name: of the parameter.
        default: gives the type, too.
        description: for `ros2 param describe` and the documentation.
        limits: smallest and largest value, inclusive.
        choices: allowed values, if they are few.
        runtime: whether it may change while the node is configured.
        check: gives the reason why a value of the right type is refused; None if it is allowed.
    """

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    runtime: bool = False
    check: Callable[[Any], str | None] | None = None

    @property
    def type(self) -> Parameter.Type:
        """The ROS type of the default."""
        return Parameter.Type.from_parameter_value(self.default)

    def descriptor(self) -> ParameterDescriptor:
        """The description for `ros2 param describe`."""
        descriptor = ParameterDescriptor(name=self.name, type=self.type.value, description=self.description)
        if self.choices:
            descriptor.additional_constraints = "one of: " + ", ".join(self.choices)
        if self.limits and self.type == Parameter.Type.INTEGER:
            descriptor.integer_range = [IntegerRange(from_value=int(self.limits[0]), to_value=int(self.limits[1]))]
        elif self.limits and self.type == Parameter.Type.DOUBLE:
            descriptor.floating_point_range = [FloatingPointRange(from_value=self.limits[0], to_value=self.limits[1])]
        return descriptor

    def refusal(self, given: Parameter) -> str | None:
        """The sentence why a given value is refused; None if it is allowed."""
        value = given.value
        if given.type_ == Parameter.Type.NOT_SET and isinstance(self.default, list):
            value = []  # ROS gives an empty list no type.
        elif given.type_ != self.type:
            kind, expected = (_words(each) for each in (given.type_, self.type))
            remedy = ""
            if self.type == Parameter.Type.DOUBLE and given.type_ == Parameter.Type.INTEGER:
                remedy = f": write {float(value)}"
            return f"{self.name} = {value!r} is of type {kind}, but the parameter is of type {expected}{remedy}"
        return self.problem(value)

    def problem(self, value: Any) -> str | None:
        """As `refusal`, for a value of the right type."""
        if self.choices and value not in self.choices:
            return f"{self.name} = {value!r} is not one of: {', '.join(self.choices)}"
        if self.limits:
            low, high = self.limits
            items = value if isinstance(self.default, list) else [value]
            if not all(low <= item <= high for item in items):
                return f"{self.name} = {value!r} is outside {low:g} to {high:g}"
        reason = self.check(value) if self.check is not None else None
        return None if reason is None else f"{self.name} = {value!r} {reason}"


def _words(kind: Parameter.Type) -> str:
    return kind.name.lower().replace("_", " ")


_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


def _check_cameras(names: list[str]) -> str | None:
    if not names:
        return "is empty: give at least one name, or leave it out for one camera without a name"
    for name in names:
        if name and not re.fullmatch(rf"{_NAME}(/{_NAME})*", name):
            return (
                f"has {name!r}, which is no name of a camera: use letters, digits and _, no digit first, and / only "
                "between names"
            )
    if len(set(names)) != len(names) or (len(names) > 1 and "" in names):
        return "must be different names, none of them empty if there are several"
    return None


def _check_device(device: str) -> str | None:
    try:
        check_device(device)
    except ValueError as error:
        return str(error).removeprefix(f"device {device!r} ")
    return None


def _check_processing_size(size: list[int]) -> str | None:
    if len(size) != 2 or (list(size) != [0, 0] and min(size) < 16):
        return "must be [width, height], each at least 16, or [0, 0]"
    return None


PARAMETERS = (
    ParameterSpec(
        "model",
        "stvae-rt-m",
        "Name of a shipped checkpoint (see `stvae models`), or path of a .safetensors file or of an .onnx file of "
        "`stvae export`.",
        runtime=True,
    ),
    ParameterSpec(
        "device",
        "auto",
        "Where the network runs: auto (a GPU if there is one), cpu or cuda:N.",
        runtime=True,
        check=_check_device,
    ),
    ParameterSpec(
        "precision",
        "auto",
        "Arithmetic of the network; auto is bf16 where the CPU has avx512_bf16 or amx_bf16, or the GPU has bf16, else "
        "fp32.",
        choices=("auto", "fp32", "bf16", "fp16"),
        runtime=True,
    ),
    ParameterSpec(
        "backend",
        "torch",
        "Runs the network. onnxruntime exports it on first use. An .onnx file is always run by onnxruntime.",
        choices=("torch", "onnxruntime"),
        runtime=True,
    ),
    ParameterSpec(
        "onnx_provider",
        "auto",
        "Execution provider of ONNX Runtime; auto is cuda if ONNX Runtime has it and the device is not cpu, else cpu.",
        choices=("auto", "cpu", "cuda", "tensorrt"),
        runtime=True,
    ),
    ParameterSpec(
        "cache_folder",
        "",
        "Folder of exported networks and TensorRT engines; empty is the environment variable STVAE_ROS_CACHE, or "
        "stvae_ros in the user's cache.",
    ),
    ParameterSpec(
        "processing_size",
        [0, 0],
        "Width and height in pixels to which frames are scaled for the network; 0, 0 is the size that the checkpoint "
        "was made for. Outputs always have the size of the input.",
        limits=(0, 4096),
        check=_check_processing_size,
    ),
    ParameterSpec(
        "horizon",
        1,
        "Number of frames that ~/prediction and ~/flow look ahead. Each frame beyond the next costs one more step.",
        limits=(1, 5),
        runtime=True,
    ),
    ParameterSpec(
        "cameras",
        [""],
        "Names of the cameras. The node subscribes to NAME/image and publishes under ~/NAME/. "
        "The default, one empty name, is a single camera on image and ~/.",
        check=_check_cameras,
    ),
    ParameterSpec(
        "image_transport",
        "raw",
        "raw reads sensor_msgs/Image on image; compressed reads sensor_msgs/CompressedImage on image/compressed.",
        choices=("raw", "compressed"),
    ),
    ParameterSpec(
        "queue",
        "latest",
        "latest keeps only the newest waiting frame of each camera, for robots. all keeps every frame in order, for "
        "replay.",
        choices=("latest", "all"),
    ),
    ParameterSpec(
        "queue_limit",
        1000,
        "Largest number of waiting frames of a camera with queue: all. Further frames are dropped and counted.",
        limits=(1, 100_000),
    ),
    ParameterSpec(
        "max_gap",
        1.0,
        "Seconds without a frame after which the memory of a camera is emptied.",
        limits=(0.01, 3600.0),
        runtime=True,
    ),
    ParameterSpec(
        "flow_color_max",
        0.0,
        "Motion in pixels per frame that ~/flow_color draws in full colour; 0 is 1/40 of the image width.",
        limits=(0.0, 10_000.0),
        runtime=True,
    ),
    ParameterSpec(
        "flow_units",
        "frame",
        "Unit of ~/flow: frame is pixels up to the predicted frame, horizon frames ahead. second is pixels per second: "
        "the same divided by the time to that frame. ~/flow_color does not depend on it.",
        choices=("frame", "second"),
        runtime=True,
    ),
    ParameterSpec(
        "compressed_format",
        "jpeg",
        "Format of the pictures on ~/prediction/compressed and the other compressed topics. jpeg is smaller, png keeps "
        "every pixel.",
        choices=("jpeg", "png"),
        runtime=True,
    ),
    ParameterSpec(
        "max_image_pixels",
        40_000_000,
        "Largest number of pixels of an image or label image. Larger ones are dropped before memory is allocated, "
        "because a wrong header could ask for any amount.",
        limits=(1, 2**31 - 1),
    ),
    ParameterSpec(
        "significant_bits",
        16,
        "Number of bits that 16-bit images (mono16, bayer_rggb16 and others) use, for example 12 for a sensor that "
        "leaves the upper 4 bits 0. The node warns if the images use fewer.",
        limits=(8, 16),
        runtime=True,
    ),
    ParameterSpec(
        "theta_on",
        0.2,
        "Rise of a pixel's log intensity (natural logarithm) that makes an ON event on ~/events and similar topics.",
        limits=(0.01, 10.0),
        runtime=True,
    ),
    ParameterSpec(
        "theta_off",
        0.2,
        "Fall of a pixel's log intensity (natural logarithm) that makes an OFF event.",
        limits=(0.01, 10.0),
        runtime=True,
    ),
    ParameterSpec(
        "event_source",
        "frames",
        "Input of a network that sees events. frames simulates events of the camera on image, with theta_on and "
        "theta_off. images takes grey event images on image. packets subscribes to event_camera_msgs/EventPacket on "
        "events_in, if that package is installed.",
        choices=("frames", "images", "packets"),
    ),
    ParameterSpec(
        "label_history",
        2.0,
        "Largest delay of labels on segmentation and of boxes on detections, in seconds after the frame that they "
        "describe.",
        limits=(0.1, 60.0),
    ),
    ParameterSpec(
        "doubtful_labels",
        "fill",
        "Label of a pixel that does not look like the labelled one, or that entered the image. fill takes the label of "
        "a similar pixel nearby. unlabelled leaves it without a label.",
        choices=("fill", "unlabelled"),
    ),
    ParameterSpec(
        "label_classes",
        "",
        "YAML file with the names and colours of the classes; empty is config/labels.yaml, the classes of CamVid.",
    ),
    ParameterSpec(
        "segmenter",
        "",
        "Path of the checkpoint of a semantic segmenter. The node then labels frames itself in idle time, and carries "
        "these labels along. Empty for none.",
    ),
    ParameterSpec("segmenter_every", 10, "Run the segmenter on every n-th frame of each camera.", limits=(1, 100_000)),
    ParameterSpec(
        "num_threads",
        0,
        "CPU threads of the network; 0 leaves a quarter of the cores, at least one, to other nodes.",
        limits=(0, 1024),
    ),
    ParameterSpec(
        "lazy",
        False,
        "true: while nobody subscribes to an output of a camera, its images are unsubscribed and the network rests. "
        "After that its memory is empty. A camera with a publisher of segmentation or detections stays awake.",
    ),
    ParameterSpec("autostart", True, "Configure and activate at start; false waits for a lifecycle manager."),
)

_BY_NAME = {spec.name: spec for spec in PARAMETERS}


def declare_parameters(node: Node) -> dict[str, str]:
    """Declare the whole table on a node.

    Returns:
        The reason for each given value that is refused, by the name of the parameter, which then has its default.
    """
    refused = {}
    for spec in PARAMETERS:
        given = node._parameter_overrides.get(spec.name)
        problem = None if given is None else spec.refusal(given)
        if problem is not None:
            refused[spec.name] = problem
        node.declare_parameter(spec.name, spec.default, spec.descriptor(), ignore_override=problem is not None)
    return refused


def refusal(parameters: list[Parameter], configured: bool) -> str | None:
    """The reason why a change is refused; None if it is allowed. Unknown parameters are ignored."""
    for parameter in parameters:
        spec = _BY_NAME.get(parameter.name)
        if spec is None:
            continue
        if configured and not spec.runtime:
            return (
                f"{spec.name} cannot change while the node is configured: "
                "deactivate and clean up the node, set it, then configure again"
            )
        problem = spec.refusal(parameter)
        if problem:
            return problem
    return None


def markdown_table() -> str:
    """The table as Markdown, for docs/parameters.md."""
    lines = ["| name | type | default | range | at run time | meaning |", "|---|---|---|---|---|---|"]
    for spec in PARAMETERS:
        span = ", ".join(f"`{choice}`" for choice in spec.choices)
        if spec.limits:
            span = f"{spec.limits[0]:g} to {spec.limits[1]:g}"
        kind = _words(spec.type)
        changes = "yes" if spec.runtime else "no"
        lines.append(f"| `{spec.name}` | {kind} | `{spec.default!r}` | {span} | {changes} | {spec.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown_table(), end="")
