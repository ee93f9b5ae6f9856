"""Contents of /diagnostics: one status for the process and one for each camera."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import psutil
import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from stvae_ros.nodes.diagnostics.frame_budget import Load
from stvae_ros.nodes.perception.camera import Camera

SILENT_AFTER = 2.0
"""Seconds without an image after which a camera counts as silent."""
_PROBLEM_SHOWN = 5.0
_RESETS_SHOWN = 10.0
_RESETS = 3
"""Number of resets for one reason, among the last frames of a camera, of which is warned."""
_DISABLED = "disabled: images are ignored; call ~/enable with true"


def status(level: bytes, name: str, message: str, values: dict[str, object]) -> DiagnosticStatus:
    """Make a DiagnosticStatus with its values as text."""
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id="stvae_ros", values=pairs)


def camera_status(
    node_name: str,
    camera: Camera,
    topic: str,
    connection_problem: str | None,
    carried_problem: str | None,
    enabled: bool = True,
) -> DiagnosticStatus:
    """Make the status of one camera. The message is the most specific cause of the worst problem.

    Args:
        node_name: of the node.
        camera: its counts and times.
        topic: of its images.
        connection_problem: why no images come, if they do not.
        carried_problem: why no labels, no detections or no camera_info come, if they do not.
        enabled: whether the node looks at images.
    """
    now = time.monotonic()
    troubles = _troubles(camera, topic, connection_problem, carried_problem, now)
    level, message = max(troubles, key=lambda trouble: trouble[0]) if enabled else (DiagnosticStatus.WARN, _DISABLED)
    values: dict[str, object] = {
        "topic": topic,
        "frames received": camera.received,
        "frames processed": camera.processed,
        "frames waiting": len(camera.waiting),
        f"{'packets' if camera.packets else 'frames'} lost by the middleware": camera.lost,
        "input rate (Hz)": f"{camera.rate_in.per_second(now):.2f}",
        "output rate (Hz)": f"{camera.rate_out.per_second(now):.2f}",
        "frame period (ms)": f"{camera.frame_period / 1e6:.3f}",
        "drops": sum(camera.drops.values()),
        "resets": sum(camera.resets.values()),
        "frames without a stamp": camera.unstamped,
        **{f"drops: {reason}": count for reason, count in sorted(camera.drops.items())},
        **{f"resets: {reason}": count for reason, count in sorted(camera.resets.items())},
    }
    if camera.packets:
        values |= {"packets received": camera.packets, "packets dropped": sum(camera.packet_drops.values())}
        values |= {f"packets dropped: {reason}": count for reason, count in sorted(camera.packet_drops.items())}
    values |= camera.labels.values() | camera.detections.values()
    timings = {"latency from stamp": camera.latency, **camera.stages}
    for stage, timing in timings.items():
        values[f"{stage} median (ms)"] = f"{timing.percentile(50):.2f}"
        values[f"{stage} 99 % (ms)"] = f"{timing.percentile(99):.2f}"
    return status(level, f"{node_name}: {camera.name or 'camera'}", message, values)


def _troubles(
    camera: Camera, topic: str, connection_problem: str | None, carried_problem: str | None, now: float
) -> Iterator[tuple[bytes, str]]:
    """Yield level and message of each problem, the most specific first, and at the end that the camera runs."""
    if camera.is_asleep:
        yield DiagnosticStatus.OK, "asleep: nobody subscribes to its outputs (parameter lazy)"
        return
    if now - camera.problem_time < _PROBLEM_SHOWN:
        yield DiagnosticStatus.WARN, f"{camera.problem_topic or topic}: {camera.last_problem}"
    if now - camera.reset_time < _RESETS_SHOWN:
        yield from _frequent_resets(camera, topic)
    if connection_problem is not None:
        yield DiagnosticStatus.WARN, connection_problem
    elif camera.received == 0 and not camera.packets:
        yield (
            DiagnosticStatus.WARN,
            f"{topic} has a publisher but no image came: type and QoS fit; see with `ros2 topic hz {topic}` whether it "
            "sends any, and look at the log of the camera",
        )
    elif now - camera.last_arrival > SILENT_AFTER:
        yield DiagnosticStatus.WARN, f"no image on {topic} for {now - camera.last_arrival:.0f} s"
    if now - camera.unstamped_time < _PROBLEM_SHOWN:
        yield (
            DiagnosticStatus.WARN,
            f"images on {topic} carry no stamp, so the node takes the time of arrival: let the driver stamp them, "
            "since labels and other nodes need the stamp to find a frame",
        )
    if carried_problem is not None:
        yield DiagnosticStatus.WARN, carried_problem
    load, longest = camera.budget.load(now)
    times = f"a frame takes up to {longest * 1e3:.0f} ms, and one comes every {camera.budget.period * 1e3:.0f} ms"
    if load is Load.SUSTAINED:
        yield (
            DiagnosticStatus.ERROR,
            f"{topic} is faster than the node: {times}, so that the oldest are dropped; lower the rate of the "
            "cameras or processing_size, or use fewer cameras or a smaller model",
        )
    elif load is Load.ONCE:
        yield DiagnosticStatus.WARN, f"{topic} was faster than the node for a moment: {times}"
    yield DiagnosticStatus.OK, "running"


def _frequent_resets(camera: Camera, topic: str) -> Iterator[tuple[bytes, str]]:
    """Yield level and message if the memory is emptied so often that the network has nothing to remember."""
    recent = list(camera.recent)
    step = f"{abs(camera.step):.2f} s"
    explained = {
        "gap": f"stamps that are {step} apart: raise max_gap above that, or raise the rate of the camera",
        "time jumped back": f"a stamp that is {step} older than the one before: publish frames in the order of their "
        "stamps, from one node",
        "resolution changed": "another image size or number of channels: publish images of one camera only",
    }
    for reason, why in explained.items():
        count = recent.count(reason)
        if count >= _RESETS:
            sentence = f"the memory of {topic} was emptied before {count} of the last {len(recent)} frames by {why}"
            yield DiagnosticStatus.WARN, sentence


def process_status(
    node_name: str, problem: str | None, warning: str | None, state: str, values: dict[str, object]
) -> DiagnosticStatus:
    """Make the status of the process: lifecycle state, memory, and the ``values`` of the network."""
    level, message = DiagnosticStatus.OK, state
    if problem is not None:
        level, message = DiagnosticStatus.ERROR, problem
    elif warning is not None:
        level, message = DiagnosticStatus.WARN, warning
    elif state == "disabled":
        level, message = DiagnosticStatus.WARN, _DISABLED
    elif state != "active":
        level, message = DiagnosticStatus.WARN, _not_running(state, f"/{node_name}")
    memory: dict[str, object] = {"memory of the process (MB)": f"{psutil.Process().memory_info().rss / 1e6:.0f}"}
    if torch.cuda.is_available():
        memory["memory on the GPU (MB)"] = f"{torch.cuda.memory_allocated() / 1e6:.0f}"
    return status(level, f"{node_name}: process", message, {"state": state, **values, **memory})


def _not_running(state: str, node: str) -> str:
    """The sentence for a lifecycle state in which the node does not run, with the remedy where it stays so."""
    return {
        "unconfigured": f"unconfigured: not running; `ros2 lifecycle set {node} configure` and then `activate`, or "
        "start it with autostart:=true",
        "inactive": f"inactive: not running; `ros2 lifecycle set {node} activate`",
        "finalized": "finalized: not running; it was shut down for good: end the process and start it again",
    }.get(state, f"{state}: not running")


def diagnostic_array(stamp: Time, statuses: Iterable[DiagnosticStatus]) -> DiagnosticArray:
    """Make the message for /diagnostics."""
    return DiagnosticArray(header=Header(stamp=stamp), status=list(statuses))
