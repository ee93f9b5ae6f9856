"""Recording a step, and measuring ``precision: auto``, in a process of its own.

What does so holds Python, and a network at work here would wait for it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import torch

from stvae_ros.streaming.predictor import StreamingPredictor

_END_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""


class Recorded(NamedTuple):
    """A step, as `StreamingPredictor.warm_up` takes it, the precision that it has, and why."""

    step: bytes
    precision: str
    reason: str


def record_aside(weights: Path, size: tuple[int, int], precision: str, cache_folder: str = "") -> Recorded:
    """Record the step of the ``weights`` at ``size`` (width, height) on the CPU.

    precision, cache_folder: see `StreamingPredictor.from_weights`; auto is measured there, too.
    The process has a network of its own, works on one core, and ends when this one does.
    Raises RuntimeError with its last words if it fails, OSError if it cannot be started.
    """
    arguments = json.dumps([os.getpid(), str(weights), size, precision, cache_folder])
    child = subprocess.run([sys.executable, "-m", __name__, arguments], capture_output=True, stdin=subprocess.DEVNULL)
    if child.returncode:
        words = child.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(words[-1] if words else f"ended with {child.returncode}")
    chosen, step = child.stdout.split(b"\n", 1)
    return Recorded(step, *json.loads(chosen))


def main() -> None:
    """Write to standard output a line with the precision and its reason, and the recorded step."""
    parent, weights, size, precision, cache_folder = json.loads(sys.argv[1])
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        return
    torch.set_num_threads(1)
    options = {"precision": precision, "cache_folder": cache_folder}
    predictor = StreamingPredictor.from_weights(weights, tuple(size), device="cpu", **options)
    chosen = json.dumps([predictor.precision, predictor.precision_reason])
    sys.stdout.buffer.write(chosen.encode() + b"\n" + predictor.record().saved())


if __name__ == "__main__":
    main()
