"""QoS overrides that a user gives."""

import pytest

from stvae_ros.nodes.perception.qos import override_refusal


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("/image.subscription.reliability", "reliable"),
        ("/image.subscription.reliability", "best_available"),
        ("/perception/flow.publisher.durability", "transient_local"),
        ("/perception/flow.publisher.depth", 10),
        ("/perception/flow.publisher.deadline", 100_000_000),
        ("/perception/flow.publisher.lifespan", 100_000_000),
        ("/perception/flow.publisher.liveliness", "automatic"),
    ],
)
def test_overrides_that_are_allowed(name: str, value: object) -> None:
    assert override_refusal({f"qos_overrides.{name}": value, "model": 3}) is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("/image.subscription.depth", "10", " = '10' must be an integer, 0 or more"),
        ("/image.subscription.depth", -1, " = -1 must be an integer, 0 or more"),
        ("/image.subscription.depth", True, " = True must be an integer, 0 or more"),
        ("/image.subscription.deadline", 0.1, " = 0.1 must be an integer of nanoseconds, 0 or more"),
        ("/image.subscription.reliability", "sure", " = 'sure' is not one of: system_default, reliable, best_effort"),
        ("/image.subscription.history", 1, " = 1 is not one of: system_default, keep_last, keep_all"),
        ("/image.subscription.lifespan", 1, ": a subscription has no policy 'lifespan' to override"),
        ("/image.subscription.reliabilty", "reliable", ": a subscription has no policy 'reliabilty' to override"),
        ("/image.subscriber.depth", 1, " is not of the form qos_overrides./<topic>.<publisher|subscription>.<policy>"),
        ("image.subscription.depth", 1, " is not of the form qos_overrides./<topic>.<publisher|subscription>.<policy>"),
    ],
)
def test_overrides_that_are_refused(name: str, value: object, reason: str) -> None:
    problem = override_refusal({f"qos_overrides.{name}": value})
    assert problem is not None and problem.startswith(f"qos_overrides.{name}{reason}")
