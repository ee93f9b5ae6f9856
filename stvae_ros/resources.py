"""Where the files beside the code are: models, config, launch, package.xml."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path

_FAST_DDS_2 = ("humble", "iron", "jazzy")
"""Distributions before Fast DDS 3; without ROS_DISTRO there are the wheels of `setup.py`, which are of Jazzy."""


def share_directory() -> Path:
    """The folder that holds models/, config/ and launch/.

    It is the source tree for an editable or symlink install, otherwise ``share/stvae_ros`` of the prefix that
    the code is installed in (a colcon workspace, a ROS distribution or a virtual environment).
    Raises FileNotFoundError if neither is there.
    """
    package = Path(__file__).resolve().parent
    candidates = [package.parent] if (package.parent / "package.xml").is_file() else []
    candidates += [parent / "share" / "stvae_ros" for parent in package.parents]
    for candidate in candidates:
        if (candidate / "models").is_dir():
            return candidate
    raise FileNotFoundError(f"no share/stvae_ros above {package}: the package is not fully installed; reinstall it")


def package_version() -> str:
    """The version in package.xml, which is the only place where it is written. Raises FileNotFoundError."""
    return ET.parse(share_directory() / "package.xml").getroot().findtext("version", "")


def profile_variable() -> str:
    """The environment variable that names a profile to this distribution's Fast DDS; later ones warn of the old."""
    product = "FASTRTPS" if os.environ.get("ROS_DISTRO", "jazzy") in _FAST_DDS_2 else "FASTDDS"
    return f"{product}_DEFAULT_PROFILES_FILE"
