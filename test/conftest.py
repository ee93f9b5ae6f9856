"""Shared by all tests. ROS talks on this machine alone, and each test that starts nodes has a domain of its own."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from stvae_ros.resources import profile_variable

ROOT = Path(__file__).resolve().parent.parent

if (Path(sys.prefix) / "share" / "ament_index").is_dir():
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ[profile_variable()] = str(ROOT / "config" / "fastdds.xml")
os.environ.pop("ROS_DOMAIN_ID", None)

# Tests and the nodes that they start share the cores; threads of PyTorch that wait awake would take them from others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What the package keeps between runs goes with this one; processes that tests start use the same.
os.environ["STVAE_ROS_CACHE"] = tempfile.mkdtemp(prefix="stvae_ros_")
atexit.register(shutil.rmtree, os.environ["STVAE_ROS_CACHE"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test starts first, or in the end one process would work while the others have nothing left to do."""
    items.sort(key=lambda item: item.path.name != "dds/test_soak.py")
