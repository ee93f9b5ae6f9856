"""Writing files whole or not at all, and the folder of cached files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""Beginning of the small text that Git LFS leaves in place of a large file."""


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    The parent folder is created if it is missing.

    Args:
        path: the file to write or to replace.

    Yields:
        A temporary path in the same folder, with the same suffix. When the block ends, this file replaces ``path``.
        When the block raises, the temporary file is removed and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def cache_folder(given: str | Path = "") -> Path:
    """The folder of cached files.

    Args:
        given: a folder that the user chose, or "" for the default.

    Returns:
        ``given``, else the environment variable STVAE_ROS_CACHE, else ``stvae_ros`` in XDG_CACHE_HOME or ~/.cache.
    """
    chosen = given or os.environ.get("STVAE_ROS_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stvae_ros"
