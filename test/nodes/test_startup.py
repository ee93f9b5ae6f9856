"""Sentences for what a user gave and ROS cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
from rclpy.context import Context
from rclpy.node import Node

from stvae_ros.nodes.startup import explain, files_without_node, ignored_parameters

FILES = {
    "list.yaml": ("perception: [1, 2", "is not YAML: while parsing a flow sequence"),
    "tab.yaml": ("perception:\n\tros__parameters:\n", "is not YAML: while scanning for the next token"),
    "flat.yaml": (
        "perception:\n  max_gap: 2.0\n",
        "cannot be used: Cannot have a value before ros__parameters at line 2",
    ),
    "empty_value.yaml": ("perception:\n  ros__parameters:\n    max_gap:\n", "cannot be used: No value at line 3"),
    "mixed.yaml": ("perception:\n  ros__parameters:\n    cameras: [front, 1]\n", "Sequence should be of same type"),
}


def refusal(*arguments: str) -> str:
    """The sentence for a node with these arguments."""
    context = Context()
    with pytest.raises(RuntimeError) as caught:
        context.init(["program", "--ros-args", *arguments])
        Node("perception", context=context)
    context.try_shutdown()
    return explain(caught.value, arguments)


@pytest.mark.parametrize("name", FILES)
def test_a_parameter_file_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    text, reason = FILES[name]
    (tmp_path / name).write_text(text)
    sentence = refusal("--params-file", str(tmp_path / name))
    assert sentence.startswith(f"the parameter file '{tmp_path / name}' ") and reason in sentence
    assert "\n" not in sentence and "/project/" not in sentence


def test_a_parameter_file_that_is_not_there(tmp_path: Path) -> None:
    assert refusal("--params-file", f"{tmp_path}/no.yaml") == f"the parameter file '{tmp_path}/no.yaml' does not exist"
    assert refusal("--params-file", str(tmp_path)) == f"the parameter file '{tmp_path}' is a folder"


@pytest.mark.parametrize("namespace", ["/robot/", "/robot//left", "robot", "/1robot", "/my robot"])
def test_a_namespace_that_is_not_one(namespace: str) -> None:
    sentence = refusal("-r", f"__ns:={namespace}")
    assert (
        sentence.startswith("the namespace ") and repr(namespace)[1:-1] in sentence and "write it as /robot" in sentence
    )


@pytest.mark.parametrize(
    ("arguments", "starts"),
    [
        (
            ["-r", "image:=/camera//image"],
            "the remap rule 'image:=/camera//image' cannot be used: write it as from:=to",
        ),
        (["-r", "image:=/camera/image/"], "the remap rule 'image:=/camera/image/' cannot be used"),
        (["-p", "max_gap=2"], "the parameter override rule 'max_gap=2' cannot be used: write it as name:=value"),
        (["--log-level", "loud"], "the log level 'loud' cannot be used: use debug, info"),
        (["--nonsense"], "ROS does not know the arguments ['--nonsense']"),
    ],
)
def test_another_argument_that_cannot_be_used(arguments: list[str], starts: str) -> None:
    assert refusal(*arguments).startswith(starts)


@pytest.fixture
def context() -> Context:
    context = Context()
    context.init()
    yield context
    context.try_shutdown()


def test_misspelt_parameters_are_named_with_the_nearest(context: Context) -> None:
    given = ["--ros-args", "-p", "modle:=x", "-p", "known:=1", "-p", "zzz:=1", "-p", "use_sim_time:=false"]
    node = Node("perception", context=context, cli_args=given)
    node.declare_parameter("model", "")
    node.declare_parameter("known", 0)
    assert ignored_parameters(node) == {
        "modle": "perception has no parameter modle, and ignores it; did you mean model?",
        "zzz": "perception has no parameter zzz, and ignores it",
    }
    node.destroy_node()


@pytest.mark.parametrize(
    ("section", "matches"),
    [
        ("perception", False),
        ("/robot/perception", True),
        ("robot:\n  perception", True),
        ("/**", True),
        ("/*/perception", True),
        ("/*", False),
        ("/**/perception", True),
        ("/**/camera", False),
    ],
)
def test_a_file_for_other_nodes_is_named(tmp_path: Path, context: Context, section: str, matches: bool) -> None:
    """As rcl matches the sections of a file: the parameter arrives, or the file is named."""
    path = tmp_path / "robot.yaml"
    deep = section.count("\n") * "  "
    path.write_text(f"{section}:\n{deep}  ros__parameters:\n{deep}    horizon: 2\n")
    arguments = ["--ros-args", "--params-file", str(path)]
    node = Node("perception", context=context, namespace="/robot", cli_args=arguments)
    assert ("horizon" in node._parameter_overrides) is matches
    sentences = files_without_node(node, arguments)
    assert bool(sentences) is not matches
    if sentences:
        named = "/" + section.strip("/")
        wanted = f"the parameter file '{path}' has no section for /robot/perception, and is ignored: it has {named}"
        assert sentences == [wanted]
    node.destroy_node()
