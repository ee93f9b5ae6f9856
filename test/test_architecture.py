"""What each package needs installed, and that docs/architecture.md shows the import rule of setup.cfg.

`lint-imports`, in `make lint`, checks the import rule itself.
Imports are read from the source. *Loaded* are those that must succeed whenever a module is imported. These are not the
imports inside functions, `if TYPE_CHECKING`, and `try` with `except ImportError`. The imports of loaded modules count.
"""

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from stvae_ros.cli.main import _COMMANDS

ROOT = Path(__file__).resolve().parent.parent
CODE = ROOT / "stvae_ros"

# Distribution on PyPI -> top-level modules, where they have other names.
MODULES = {
    "opencv-python-headless": {"cv2"},
    "PyYAML": {"yaml"},
    "jsonargparse[signatures]": {"jsonargparse"},
    "scikit-learn": {"sklearn"},
    "ros-jazzy-rclpy[fastrtps]": {"rclpy"},
    "ros-jazzy-common-interfaces": {
        "builtin_interfaces", "diagnostic_msgs", "lifecycle_msgs", "rcl_interfaces", "rosgraph_msgs", "sensor_msgs",
        "std_msgs", "std_srvs",
    },
}  # fmt: skip
NOT_ON_PYPI = {"vision_msgs", "event_camera_msgs", "cv_bridge", "ament_index_python"}  # Of ROS; used where installed.


def requirements(*extras: str) -> set[str]:
    """Modules that setup.py has installed, with these extras."""
    setup = ast.parse((ROOT / "setup.py").read_text())
    keywords = {node.arg: node.value for node in ast.walk(setup) if isinstance(node, ast.keyword)}
    names = set(ast.literal_eval(keywords["install_requires"]))
    optional = ast.literal_eval(keywords["extras_require"])
    names = names.union(*(optional[extra] for extra in extras))
    names = {name.partition(">=")[0] for name in names}
    return set().union(*(MODULES.get(name, {name}) for name in names))


def optional(node: ast.AST) -> bool:
    """Whether what stands inside of this may be missing when a module is imported."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    if isinstance(node, ast.Try):
        return any("ImportError" in ast.dump(handler) for handler in node.handlers)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Full names that a file imports, and whether this happens as soon as the file is imported."""

    def walk(node: ast.AST, loaded: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, loaded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno}: write imports in full"
            yield from ((f"{node.module}.{alias.name}", loaded) for alias in node.names)
        elif optional(node):
            loaded = False
        for child in ast.iter_child_nodes(node):
            yield from walk(child, loaded)

    return tuple(walk(ast.parse(path.read_text()), True))


def package_of(path: Path) -> str:
    return path.relative_to(CODE).parts[0].removesuffix(".py")


def foreign(name: str) -> bool:
    """Whether this is of another project and not of Python itself."""
    return name.split(".")[0] not in {"stvae_ros", *sys.stdlib_module_names}


def files_of(name: str) -> set[Path]:
    """Files that the import of a full name of this project loads."""
    parts = name.split(".")[1:]
    found = {CODE / "__init__.py"}
    for length in range(1, len(parts) + 1):
        path = CODE.joinpath(*parts[:length])
        found |= {each for each in (path / "__init__.py", path.with_suffix(".py")) if each.is_file()}
    return found


def loaded_by(*start: Path) -> set[str]:
    """Top-level modules of other projects that are loaded along with some files."""
    seen: set[Path] = set()
    waiting = set(start)
    others: set[str] = set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        for name, loaded in imports(path):
            if loaded and foreign(name):
                others.add(name.split(".")[0])
            elif loaded and name.startswith("stvae_ros"):
                waiting |= files_of(name) - seen
    return others


SOURCES = sorted(path for path in CODE.rglob("*.py") if path.parent != CODE or path.name != "__init__.py")


def test_the_documented_floors_are_those_of_the_import_rule() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    floors = setup["importlinter:contract:floors"]["layers"].strip().splitlines()
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d) \| `([\w./]+)` \|", text, re.M)
    documented = [[name.removesuffix(".py").strip("/") for number, name in rows if number == str(height)]
                  for height in range(len(floors), 0, -1)]  # fmt: skip
    assert documented == [floor.split(" | ") for floor in floors]


@pytest.mark.parametrize("package", ["resources", "files", "zoo", "nn", "data", "events", "runtime", "streaming"])
def test_packages_that_load_without_any_extra(package: str) -> None:
    for path in SOURCES:
        if package_of(path) == package:
            assert loaded_by(path) <= requirements(), path.relative_to(CODE)


def test_a_robot_needs_ros_and_nothing_of_the_trainer() -> None:
    for path in SOURCES:
        if package_of(path) == "nodes":
            assert loaded_by(path) <= requirements("ros"), path.relative_to(CODE)


@pytest.mark.parametrize("command", _COMMANDS)
def test_commands_need_the_extras_that_they_name(command: str) -> None:
    module = CODE.joinpath("cli", *_COMMANDS[command][2].split(".")).with_suffix(".py")
    extras = _COMMANDS[command][1].split(",")
    assert loaded_by(module, CODE / "cli" / "main.py") <= requirements(*extras)


def test_every_import_is_in_setup_py() -> None:
    everything = requirements("ros", "train", "eval", "bags", "events", "onnx", "ray") | NOT_ON_PYPI
    for path in SOURCES:
        missing = {name.split(".")[0] for name, _ in imports(path) if foreign(name)} - everything
        assert not missing, f"{path.relative_to(CODE)} imports {missing}"


def test_a_wrong_import_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import os\nfrom rclpy.node import Node\ndef f():\n    import h5py\nclass C:\n    import cv2\n")
    assert imports(path) == (("os", True), ("rclpy.node.Node", True), ("h5py", False), ("cv2", True))
    assert loaded_by(CODE / "training" / "module.py") > {"lightning", "torch"}
