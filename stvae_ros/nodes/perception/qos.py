"""QoS of the node's topics, and the parameters ``qos_overrides.<topic>.<publisher|subscription>.<policy>``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

_CHOICES: dict[str, tuple[str, ...]] = {
    name: tuple(member.name.lower() for member in policy if member.name != "UNKNOWN")
    for name, policy in {
        "history": HistoryPolicy,
        "reliability": ReliabilityPolicy,
        "durability": DurabilityPolicy,
        "liveliness": LivelinessPolicy,
    }.items()
}
_DURATIONS = ("deadline", "lifespan", "liveliness_lease_duration")
POLICIES = (*_CHOICES, "depth", *_DURATIONS)
"""Policies that can be overridden."""


def output_qos() -> QoSProfile:
    """QoS of the outputs. It is a new object for each topic, because rclpy writes the overrides into it."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=2,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
    )


def input_qos(depth: int) -> QoSProfile:
    """QoS of the inputs, a new object for each topic."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def overridable() -> QoSOverridingOptions:
    """Let parameters override every policy of a topic."""
    return QoSOverridingOptions([QoSPolicyKind[policy.upper()] for policy in POLICIES])


def override_refusal(overrides: Mapping[str, Any]) -> str | None:
    """The reason why a QoS override is refused; None if all are allowed.

    Args:
        overrides: values by the name of the parameter. Names of other parameters are ignored.
    """
    for name, value in overrides.items():
        if not name.startswith("qos_overrides."):
            continue
        parts = re.fullmatch(r"qos_overrides\.(/.*)\.(publisher|subscription)\.([^.]*)", name)
        if parts is None:
            return f"{name} is not of the form qos_overrides./<topic>.<publisher|subscription>.<policy>"
        policy = parts[3]
        if policy not in POLICIES or (policy == "lifespan" and parts[2] == "subscription"):
            return f"{name}: a {parts[2]} has no policy {policy!r} to override: use one of {', '.join(POLICIES)}"
        choices = _CHOICES.get(policy)
        if choices is not None and (not isinstance(value, str) or value.lower() not in choices):
            return f"{name} = {value!r} is not one of: {', '.join(choices)}"
        if choices is None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            unit = " of nanoseconds" if policy in _DURATIONS else ""
            return f"{name} = {value!r} must be an integer{unit}, 0 or more"
    return None
