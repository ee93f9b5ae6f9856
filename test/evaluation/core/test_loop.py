"""The loop of every evaluation."""

import time

import numpy as np

from stvae_ros.evaluation.core.loop import PERIOD, WARM_UP, Sample, show


def test_every_method_sees_every_sample_in_order() -> None:
    seen: list[tuple[str, int]] = []

    def method(name: str):  # type: ignore[no-untyped-def]
        def take(sample: Sample) -> int:
            seen.append((name, sample.stamp // PERIOD))
            return len(seen)

        return take

    samples = (Sample(np.zeros((2, 2), np.uint8), t * PERIOD) for t in range(4))
    steps = list(show(samples, {"a": method("a"), "b": method("b")}))
    assert seen == [(name, t) for t in range(4) for name in "ab"]
    assert [step.counts for step in steps] == [index >= WARM_UP for index in range(4)]
    assert steps[3].results == {"a": 7, "b": 8} and steps[3].index == 3


def test_each_method_is_timed_by_itself() -> None:
    methods = {"slow": lambda sample: time.sleep(0.02), "fast": lambda sample: None}
    (step,) = show([Sample(np.zeros((2, 2), np.uint8), 0)], methods)
    assert step.milliseconds["slow"] >= 20 > step.milliseconds["fast"]
