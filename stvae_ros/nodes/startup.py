"""Start of a node: what a user gave on the command line and in parameter files, and what of it cannot be used."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import rclpy
import yaml
from rclpy.exceptions import ParameterException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import try_shutdown

_NAMES = "names have letters, digits and _, no digit first, and one / between them and none at the end"
_REMEDIES = {
    "remap rule": f"write it as from:=to; {_NAMES}",
    "namespace": f"write it as /robot; {_NAMES}",
    "parameter override rule": "write it as name:=value, with a value in YAML",
    "log level": "use debug, info, warn, error or fatal",
}


@contextmanager
def ros(program: str) -> Iterator[None]:
    """Initialize ROS, without its handlers of signals, and shut it down at the end.

    Args:
        program: begins the sentence of an error.

    Raises:
        SystemExit: something that the user gave cannot be used. A sentence names it, and the reason.
    """
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        yield
    except (rclpy_implementation.RCLError, rclpy_implementation.UnknownROSArgsError) as error:
        raise SystemExit(f"{program}: {explain(error, sys.argv)}") from None
    except (ParameterException, ValueError) as error:
        raise SystemExit(f"{program}: {error}") from None
    finally:
        try_shutdown()


def explain(error: Exception, arguments: Sequence[str]) -> str:
    """The sentence for an error of rcl, whose own text has places in its source code.

    Args:
        error: of ``rclpy.init``, or of the constructor of a node.
        arguments: of the command line.
    """
    if isinstance(error, rclpy_implementation.UnknownROSArgsError):
        return f"ROS does not know the arguments {error} after --ros-args"
    text = " ".join(re.sub(r",? at /\S+:\d+", "", str(error)).split())
    file = re.search(r"'--params-file (.*?)'\. Error: (.*)", text)
    if file is not None:
        return _explain_file(file[1], file[2])
    if "invalid node namespace" in text:
        given = next((item.partition(":=")[2] for item in arguments if item.startswith("__ns:=")), "of the node")
        return f"the namespace {given!r} cannot be used: {_REMEDIES['namespace']}"
    rule = re.search(r"Couldn't parse (.*?): '(?:-\S+ )?(.*)'\. Error: ", text)
    if rule is not None and rule[1] in _REMEDIES:
        kind = "namespace" if rule[2].startswith("__ns:=") else rule[1]
        return f"the {kind} {rule[2]!r} cannot be used: {_REMEDIES[kind]}"
    return text


def _explain_file(name: str, reason: str) -> str:
    path = Path(name)
    if not path.is_file():
        return f"the parameter file {name!r} {'is a folder' if path.is_dir() else 'does not exist'}"
    try:
        yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).replace('in "<unicode string>", ', "in ").split())
        return f"the parameter file {name!r} is not YAML: {text}"
    except OSError as error:
        return f"the parameter file {name!r} cannot be read: {error.strerror}"
    return f"the parameter file {name!r} cannot be used: {reason}"


def ignored_parameters(node: Node) -> dict[str, str]:
    """The given parameters that the node has not declared.

    Returns:
        A sentence for each, by its name. It names the nearest parameter, if one is near.
    """
    declared = list(node._parameters)
    sentences = {}
    for name in node._parameter_overrides:
        if not node.has_parameter(name):
            near = difflib.get_close_matches(name, declared, 1)
            remedy = f"; did you mean {near[0]}?" if near else ""
            sentences[name] = f"{node.get_name()} has no parameter {name}, and ignores it{remedy}"
    return sentences


def files_without_node(node: Node, arguments: Sequence[str]) -> list[str]:
    """A sentence for each parameter file of the command line that has sections, but none for this node."""
    given = [file for flag, file in pairwise(arguments) if flag == "--params-file"]
    sentences = []
    for file in given:
        try:
            content: Any = yaml.safe_load(Path(file).read_text())
        except (OSError, ValueError, yaml.YAMLError):  # rcl has read it; it is only explained here.
            continue
        sections = list(_sections(content))
        name = node.get_fully_qualified_name()
        if content is not None and not any(_matches(section, name) for section in sections):
            found = ", ".join(sections) or "none"
            sentences.append(f"the parameter file {file!r} has no section for {name}, and is ignored: it has {found}")
    return sentences


def _sections(content: Any, prefix: str = "") -> Iterator[str]:
    """The names of nodes in a parameter file."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if key != "ros__parameters" and isinstance(value, dict):
            name = f"{prefix}/{str(key).strip('/')}"
            if "ros__parameters" in value:
                yield name
            yield from _sections(value, name)


def _matches(section: str, name: str) -> bool:
    """Whether a section with the wildcards * (one name) and ** (any number of them) is for a node."""
    pattern = "".join(
        {"/**": "(/[^/]+)*", "/*": "/[^/]+"}.get(part, re.escape(part)) for part in re.findall("/[^/]*", section)
    )
    return re.fullmatch(pattern, name) is not None
