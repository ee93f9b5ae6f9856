"""Where the files beside the code are: models, config, launch."""

from __future__ import annotations

from pathlib import Path


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
