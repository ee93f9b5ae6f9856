"""The files beside the code: models, config, launch, package.xml."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path

_FAST_DDS_2 = ("humble", "iron", "jazzy")
"""ROS distributions with Fast DDS 2. The wheels of `setup.py`, without ROS_DISTRO, are those of Jazzy."""


def share_directory() -> Path:
    """The folder of models/, config/ and launch/.

    It is the source tree for an editable or symlink install. Otherwise it is ``share/stvae_ros`` in the prefix of the
    installed code: a colcon workspace, a ROS distribution or a virtual environment.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    package = Path(__file__).resolve().parent
    candidates = [package.parent] if (package.parent / "package.xml").is_file() else []
    candidates += [parent / "share" / "stvae_ros" for parent in package.parents]
    for candidate in candidates:
        if (candidate / "models").is_dir():
            return candidate
    raise FileNotFoundError(f"no share/stvae_ros above {package}: the package is not fully installed; reinstall it")


def package_version() -> str:
    """The version in package.xml, its only place. Raises FileNotFoundError."""
    return ET.parse(share_directory() / "package.xml").getroot().findtext("version", "")


def profile_variable() -> str:
    """The environment variable of the Fast DDS profile; it differs between Fast DDS 2 and 3."""
    product = "FASTRTPS" if os.environ.get("ROS_DISTRO", "jazzy") in _FAST_DDS_2 else "FASTDDS"
    return f"{product}_DEFAULT_PROFILES_FILE"
