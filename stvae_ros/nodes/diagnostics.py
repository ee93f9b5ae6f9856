"""Contents of /diagnostics: one status for the process and one a camera."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil
import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from stvae_ros.nodes.camera import Camera

_SILENT_AFTER = 2.0
_PROBLEM_SHOWN = 5.0


def status(level: bytes, name: str, message: str, values: dict[str, object]) -> DiagnosticStatus:
    """A DiagnosticStatus with its values as text."""
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id="stvae_ros", values=pairs)


def camera_status(node_name: str, camera: Camera, topic: str, publishers: int) -> DiagnosticStatus:
    """State of one camera; the most specific cause of trouble is the message."""
    now = time.monotonic()
    level, message = DiagnosticStatus.OK, "running"
    if now - camera.problem_time < _PROBLEM_SHOWN:
        level, message = DiagnosticStatus.WARN, camera.last_problem
    elif publishers == 0:
        level, message = DiagnosticStatus.WARN, f"nobody publishes {topic}: start the camera or remap its topic"
    elif camera.received == 0:
        level = DiagnosticStatus.WARN
        message = f"{topic} has a publisher but no image came: compare the QoS with `ros2 topic info -v {topic}`"
    elif now - camera.last_arrival > _SILENT_AFTER:
        level, message = DiagnosticStatus.WARN, f"no image on {topic} for {now - camera.last_arrival:.0f} s"
    values: dict[str, object] = {
        "topic": topic,
        "frames received": camera.received,
        "frames processed": camera.processed,
        "input rate (Hz)": f"{camera.rate_in.per_second(now):.2f}",
        "output rate (Hz)": f"{camera.rate_out.per_second(now):.2f}",
        "drops": sum(camera.drops.values()),
        "resets": sum(camera.resets.values()),
        **{f"drops: {reason}": count for reason, count in sorted(camera.drops.items())},
        **{f"resets: {reason}": count for reason, count in sorted(camera.resets.items())},
    }
    values |= camera.labels.values()
    timings = {"latency from stamp": camera.latency, **camera.stages}
    for stage, timing in timings.items():
        values[f"{stage} median (ms)"] = f"{timing.percentile(50):.2f}"
        values[f"{stage} 99 % (ms)"] = f"{timing.percentile(99):.2f}"
    return status(level, f"{node_name}: {camera.name or 'camera'}", message, values)


def process_status(node_name: str, problem: str | None, state: str, values: dict[str, object]) -> DiagnosticStatus:
    """State of the process: lifecycle state, memory, and what ``values`` says of the network."""
    level, message = DiagnosticStatus.OK, state
    if problem is not None:
        level, message = DiagnosticStatus.ERROR, problem
    elif state != "active":
        level = DiagnosticStatus.WARN
        message = f"{state}: not running; activate it with `ros2 lifecycle set` or autostart:=true"
    memory: dict[str, object] = {"memory of the process (MB)": f"{psutil.Process().memory_info().rss / 1e6:.0f}"}
    if torch.cuda.is_available():
        memory["memory on the GPU (MB)"] = f"{torch.cuda.memory_allocated() / 1e6:.0f}"
    return status(level, f"{node_name}: process", message, {"state": state, **values, **memory})


def diagnostic_array(stamp: Time, statuses: Iterable[DiagnosticStatus]) -> DiagnosticArray:
    """The message for /diagnostics."""
    return DiagnosticArray(header=Header(stamp=stamp), status=list(statuses))
