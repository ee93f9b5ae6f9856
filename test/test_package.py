"""The package itself: files, dependencies, documentation that is kept current."""

import ast
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest
import yaml

import stvae_ros
from stvae_ros.nodes.perception.outputs import TOPICS
from stvae_ros.nodes.perception.parameters import PARAMETERS, markdown_table
from stvae_ros.resources import profile_variable, share_directory

ROOT = Path(__file__).resolve().parent.parent
CODE = ROOT / "stvae_ros"


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_top_level_is_as_agreed() -> None:
    agreed = {
        "package.xml", "setup.py", "setup.cfg", "resource", "stvae_ros", "launch", "config", "models", "test",
        "README.md", "LICENSE", "CHANGELOG.rst", "Makefile", "docs",
    }  # fmt: skip
    assert agreed <= {path.name for path in ROOT.iterdir()}
    assert (ROOT / ".ci" / "run").is_file()


def test_package_xml_is_complete() -> None:
    package = ET.parse(ROOT / "package.xml").getroot()
    assert package.get("format") == "3"
    assert package.findtext("version") == stvae_ros.__version__
    assert f"\n{stvae_ros.__version__} (" in (ROOT / "CHANGELOG.rst").read_text()
    assert package.findtext("export/build_type") == "ament_python"


def test_package_xml_names_the_ros_packages_in_use() -> None:
    package = ET.parse(ROOT / "package.xml").getroot()
    names = {kind: {element.text for element in package.findall(kind)} for kind in ("exec_depend", "test_depend")}
    ros = {kind: {name for name in found if not name.startswith("python3-")} for kind, found in names.items()}
    known = re.compile(r"\w+_(msgs|srvs|interfaces)|rclpy|launch\w*|ament_\w+|cv_bridge")

    def used(*paths: Path) -> set[str]:
        roots = {name.split(".")[0] for path in paths for name in imported(path)}
        return {root for root in roots if known.fullmatch(root)}

    where_installed = {"vision_msgs", "event_camera_msgs"}
    running = used(*CODE.rglob("*.py"), *(ROOT / "launch").glob("*.py")) - where_installed
    assert running == ros["exec_depend"]
    assert used(*(ROOT / "test").rglob("*.py")) - running == ros["test_depend"] - {"launch_testing_ros"}


def test_parameter_file_and_documentation_are_current() -> None:
    assert markdown_table() in (ROOT / "docs" / "parameters.md").read_text()
    content = yaml.safe_load((ROOT / "config" / "perception.yaml").read_text())["/**"]["ros__parameters"]
    defaults = {spec.name: spec.default for spec in PARAMETERS}
    assert content == {name: defaults[name] for name in content}


def test_shared_files_are_found() -> None:
    assert share_directory() == ROOT
    assert ET.parse(share_directory() / "config" / "fastdds.xml").getroot().tag.endswith("dds")
    rviz = yaml.safe_load((share_directory() / "config" / "perception.rviz").read_text())
    topics = re.findall(r"'Value': '(/perception/\w+|/image)'", str(rviz))
    assert {"/perception/flow_color", "/perception/labels_color", "/perception/prediction", "/image"} <= set(topics)


def test_layout_of_foxglove_shows_topics_of_the_node() -> None:
    layout = json.loads((share_directory() / "config" / "perception.foxglove.json").read_text())
    panels = layout["configById"]
    topics = {panel["imageMode"]["imageTopic"] for name, panel in panels.items() if name.startswith("Image!")}
    assert topics - {"/image"} <= {f"/perception/{topic}" for topic in TOPICS} and len(topics) == 6

    def leaves(part: Any) -> list[str]:
        return [part] if isinstance(part, str) else leaves(part["first"]) + leaves(part["second"])

    assert sorted(leaves(layout["layout"])) == sorted(panels), "each panel has its place"


def test_every_weights_file_has_a_card() -> None:
    weights = list((ROOT / "models").glob("*.safetensors"))
    assert weights and all(path.with_suffix(".md").is_file() for path in weights)


@pytest.mark.parametrize(
    ("distribution", "variable"),
    [(None, "FASTRTPS"), ("humble", "FASTRTPS"), ("jazzy", "FASTRTPS"), ("kilted", "FASTDDS"), ("later", "FASTDDS")],
)
def test_fast_dds_is_told_its_profile(distribution: str | None, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    if distribution:
        monkeypatch.setenv("ROS_DISTRO", distribution)
    assert profile_variable() == f"{variable}_DEFAULT_PROFILES_FILE"


def test_no_two_test_files_have_one_name() -> None:
    """pytest and the plugin of launch_testing import test files by their bare names."""
    names = [path.name for path in (ROOT / "test").rglob("*.py")]
    assert len(names) == len(set(names)), sorted(names)


def test_setup_py_runs_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "setup.py"), "--name", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    version = ET.parse(ROOT / "package.xml").getroot().findtext("version")
    assert done.stdout.split()[-2:] == ["stvae_ros", version]
    assert list(tmp_path.iterdir()) == []


def test_a_symlink_install_finds_its_commands(tmp_path: Path) -> None:
    """`colcon build --symlink-install` puts links into build/, runs setup.py there, and has build/ on the path."""
    for name in ("setup.py", "setup.cfg", "package.xml", "stvae_ros"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "setup.py", "-q", "egg_info"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    (found,) = Distribution.discover(name="stvae-ros", path=[str(tmp_path)])
    assert found.version == stvae_ros.__version__
    assert {"stvae", "perception_node"} <= {entry.name for entry in found.entry_points}
