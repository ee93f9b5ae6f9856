"""What is released: an sdist and a wheel that work where nothing else of the project is."""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
import zipfile
from email.message import Message
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_RELEASED = shutil.ignore_patterns(
    ".git", ".venv*", "build", "install", "log", "runs", "demo", "*.egg-info", "__pycache__", ".*_cache"
)
# What pip calls something, and what rosdep calls it; None where it has no key.
ROSDEP = {
    "numpy": "python3-numpy",
    "torch": "python3-torch",
    "opencv-python-headless": "python3-opencv",
    "pyyaml": "python3-yaml",
    "rich": "python3-rich",
    "setuptools": "python3-setuptools",
    "safetensors": None,
}

pytestmark = pytest.mark.skipif(
    find_spec("build") is None or find_spec("pip") is None, reason="needs pip and build: pip install build"
)


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, *command], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("released")
    shutil.copytree(ROOT, folder / "source", ignore=NOT_RELEASED)
    run("-m", "build", "--no-isolation", "--outdir", folder, folder / "source", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def metadata(released: Path) -> Message:
    with zipfile.ZipFile(next(released.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(wheel.read(name))


def test_package_xml_and_wheel_agree(metadata: Message) -> None:
    package = ET.parse(ROOT / "package.xml").getroot()
    for field, tag in (("Name", "name"), ("Version", "version"), ("Summary", "description"), ("License", "license")):
        assert metadata[field] == package.findtext(tag), field
    maintainer = package.find("maintainer")
    assert maintainer is not None and metadata["Maintainer-email"] == maintainer.get("email")
    requirements = metadata.get_all("Requires-Dist", [])
    required = {text.lower().partition(">=")[0] for text in requirements if "extra ==" not in text}
    assert required == ROSDEP.keys(), "a requirement was added or removed: say in ROSDEP what rosdep calls it"
    declared = {element.text for element in package if element.tag in ("depend", "exec_depend")}
    assert {key for key in ROSDEP.values() if key} <= declared
    torch = next(element for element in package if element.text == "python3-torch")
    assert f"torch>={torch.get('version_gte')}" in requirements


def test_the_sdist_holds_the_tree(released: Path) -> None:
    with tarfile.open(next(released.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    for folder in ("config", "docs", "launch", "models", "stvae_ros", "test"):
        files = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert {name for name in files if "__pycache__" not in name} <= names
    assert {"package.xml", "CHANGELOG.rst", "LICENSE", "QUALITY_DECLARATION.md", "Makefile", ".ci/run"} <= names


def test_the_wheel_works_elsewhere(released: Path, tmp_path: Path) -> None:
    wheel = next(released.glob("*.whl"))
    run(
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--no-compile",
        "--ignore-installed",
        "--prefix",
        tmp_path,
        wheel,
        cwd=tmp_path,
    )
    packages = next(tmp_path.rglob("stvae_ros/zoo.py")).parents[1]
    share = tmp_path / "share" / "stvae_ros"
    for folder in ("config", "launch", "models"):
        files = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert {str(path.relative_to(share)) for path in (share / folder).rglob("*") if path.is_file()} == {
            name for name in files if "__pycache__" not in name
        }
    program = (
        "import json, numpy, stvae_ros; from stvae_ros.checkpoint import find; from stvae_ros.streaming import *;"
        "predictor = StreamingPredictor.from_weights(find('stvae-rt-s'), (64, 64), device='cpu', precision='fp32');"
        "motion = predictor.step({'': Frame(numpy.zeros((48, 64, 3), numpy.uint8), 0)})[''];"
        "print(json.dumps([stvae_ros.__version__, str(find('stvae-rt-s')), motion.prediction.shape]))"
    )
    version, weights, shape = json.loads(run("-c", program, cwd=tmp_path, PYTHONPATH=str(packages)))
    assert version == ET.parse(ROOT / "package.xml").getroot().findtext("version")
    assert Path(weights) == share / "models" / "stvae-rt-s.safetensors"
    assert shape == [48, 64, 3]
