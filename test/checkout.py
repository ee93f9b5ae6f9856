"""A copy of the project in which make runs, without installing anything."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "install", "log", "runs", "demo", "*.egg-info", "__pycache__")
_OF_MAKE = ("MAKE", "MFLAGS", "ARGS", "VIDEO", "INPUT", "PROCESSES")
"""Beginnings of what `make test` leaves in the environment of its tests."""
_PROGRAMS = {"python": "", "stvae": "-m stvae_ros.cli.main", "sphinx-build": "-m sphinx"}


def make(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``make ...`` in ``folder``, a copy made the first time, whose `.venv` leads to this interpreter."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(_OF_MAKE)} | environment
    if not folder.exists():
        shutil.copytree(ROOT, folder, ignore=_LEFT_OUT)
        (folder / ".venv" / "bin").mkdir(parents=True)
        for name, module in _PROGRAMS.items():
            program = folder / ".venv" / "bin" / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            program.chmod(0o755)
        subprocess.run(["make", "--touch", "demo", "test"], cwd=folder, env=variables, check=True, capture_output=True)
    return subprocess.run(
        shlex.split(command), cwd=folder, env=variables, capture_output=True, text=True, timeout=150, check=False
    )
