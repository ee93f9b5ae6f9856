"""Recording a step in a process of its own: what records holds Python, and a network at work here would wait for it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from stvae_ros.streaming.predictor import StreamingPredictor

_END_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""


def record_aside(weights: Path, size: tuple[int, int], precision: str) -> bytes:
    """What `StreamingPredictor.warm_up` takes, for the ``weights`` at ``size`` (width, height) on the CPU.

    The process has a network of its own, works on one core, and ends when this one does.
    Raises RuntimeError with its last words if it fails, OSError if it cannot be started.
    """
    arguments = json.dumps([os.getpid(), str(weights), size, precision])
    child = subprocess.run([sys.executable, "-m", __name__, arguments], capture_output=True, stdin=subprocess.DEVNULL)
    if child.returncode:
        words = child.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(words[-1] if words else f"ended with {child.returncode}")
    return child.stdout


def main() -> None:
    """Write the recorded step to standard output."""
    parent, weights, size, precision = json.loads(sys.argv[1])
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        return
    torch.set_num_threads(1)
    predictor = StreamingPredictor.from_weights(weights, tuple(size), device="cpu", precision=precision)
    sys.stdout.buffer.write(predictor.record().saved())


if __name__ == "__main__":
    main()
