"""Simulated events, windows of events, and event images."""

import math

import cv2
import numpy as np
import pytest
import torch

from stvae_ros.events.arrays import Events, windows_of_time
from stvae_ros.events.images import grey_image, polarity_counts, signed_counts
from stvae_ros.events.simulator import EventModel, EventSimulator

MS = 1_000_000


def slowly(frames: list[np.ndarray], stamps: list[int], model: EventModel) -> list[tuple[int, int, int, bool]]:
    """Simulates pixel by pixel and event by event; returns (t, x, y, polarity), sorted by time."""

    def log(grey: int) -> float:
        return math.log(grey) if grey >= model.knee else grey / model.knee - 1 + math.log(model.knee)

    found = []
    for y, x in np.ndindex(frames[0].shape):
        reference = log(int(frames[0][y, x]))
        blind_until = -math.inf
        for before, after, start, end in zip(frames[:-1], frames[1:], stamps[:-1], stamps[1:], strict=True):
            first, last = log(int(before[y, x])), log(int(after[y, x]))
            slope = (last - first) / (end - start)
            elapsed = 0.0
            while True:
                if blind_until >= end:
                    break
                if blind_until > start:
                    elapsed = blind_until - start
                    reference = first + slope * elapsed
                    blind_until = -math.inf
                if slope == 0:
                    break
                level = reference + (model.theta_on if slope > 0 else -model.theta_off)
                moment = (level - first) / slope
                if moment > end - start:
                    break
                found.append((start + moment, x, y, slope > 0))
                reference = level
                if model.refractory:
                    blind_until = start + moment + model.refractory
    return sorted(found)


def moving_frames(count: int, height: int = 12, width: int = 16) -> list[np.ndarray]:
    texture = cv2.resize(np.random.default_rng(3).integers(0, 256, (9, 14), np.uint8), (60, 40))
    return [texture[2 * t : 2 * t + height, 3 * t : 3 * t + width] for t in range(count)]


@pytest.mark.parametrize(
    "model",
    [
        EventModel(),
        EventModel(theta_on=0.15, theta_off=0.3, knee=40),
        EventModel(theta_on=0.1, theta_off=0.1, refractory=3 * MS),
        EventModel(theta_on=0.05, theta_off=0.07, refractory=50 * MS),
    ],
    ids=["plain", "asymmetric", "refractory", "blind for longer than a frame"],
)
def test_simulator_equals_the_slow_reference(model: EventModel) -> None:
    frames = moving_frames(7)
    epoch = 1_700_000_000_000_000_000  # A float has no nanoseconds at this stamp.
    stamps = [0, 33 * MS, 60 * MS, 100 * MS, 133 * MS, 134 * MS, 180 * MS]
    simulator = EventSimulator(model)
    steps = [simulator.step(frame, epoch + stamp) for frame, stamp in zip(frames, stamps, strict=True)]
    assert steps[0] is None
    parts = [step.events() for step in steps[1:] if step is not None]
    made = Events.join(parts)
    expected = slowly(frames, stamps, model)
    assert len(made) == len(expected) > 100
    assert (np.diff(made.t) >= 0).all()
    # The order of events with equal stamps is undefined, so compare pixel by pixel.
    ours = np.lexsort((made.t, made.x, made.y))
    theirs = sorted(expected, key=lambda event: (event[2], event[1], event[0]))
    t, *others = zip(*theirs, strict=True)
    assert np.array_equal(others, [made.x[ours], made.y[ours], made.polarity[ours]])
    np.testing.assert_allclose(made.t[ours] - epoch, t, rtol=0, atol=1)
    for step, part in zip(steps[1:], parts, strict=True):
        assert step is not None
        assert np.array_equal(step.counts, signed_counts(part, 12, 16))
        assert not len(part) or (step.start <= part.t[0] and part.t[-1] <= step.end)


def test_a_ramp_by_hand() -> None:
    model = EventModel(theta_on=0.5, theta_off=0.25)
    simulator = EventSimulator(model)
    grey = [np.full((1, 1), value, np.uint8) for value in (50, 150, 150, 50)]
    assert simulator.step(grey[0], 0) is None
    up = simulator.step(grey[1], 100)
    assert up is not None and up.counts.item() == 2, "ln 3 is 1.0986"
    assert up.events().t.tolist() == [round(100 * 0.5 / math.log(3)), round(100 / math.log(3))]
    still = simulator.step(grey[2], 200)
    assert still is not None and still.counts.item() == 0 and len(still.events()) == 0
    down = simulator.step(grey[3], 300)
    assert down is not None and down.counts.item() == -4, "log intensity falls by 1, in steps of 0.25"
    assert not down.events().polarity.any()


def test_threshold_noise_depends_on_pixel_and_seed() -> None:
    def counts(noise: float, seed: int) -> np.ndarray:
        simulator = EventSimulator(EventModel(noise=noise), seed)
        simulator.step(torch.full((40, 40), 0.2), 0)
        step = simulator.step(torch.full((40, 40), 0.9), MS)
        assert step is not None
        return step.counts

    assert np.ptp(counts(0, 0)) == 0
    assert np.ptp(counts(0.2, 0)) > 2 and np.array_equal(counts(0.2, 0), counts(0.2, 0))
    assert not np.array_equal(counts(0.2, 0), counts(0.2, 1))
    assert counts(0.2, 0).mean() == pytest.approx(counts(0, 0).mean(), rel=0.1)


def test_simulator_restarts_and_refuses_bad_values() -> None:
    simulator = EventSimulator(EventModel())
    small, large = np.zeros((4, 4), np.uint8), np.full((8, 8), 200, np.uint8)
    assert simulator.step(small, 10) is None and simulator.step(large, 20) is None
    with pytest.raises(ValueError, match="stamps must grow"):
        simulator.step(large, 20)
    simulator.reset()
    assert simulator.step(small, 5) is None
    for wrong in ({"theta_on": 0.0}, {"knee": 0.0}, {"noise": -1.0}, {"refractory": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            EventModel(**wrong)


def some_events() -> Events:
    return Events.of([0, 10, 20, 30, 40], [0, 1, 1, 3, 1], [0, 2, 2, 1, 2], [True, True, False, False, True])


def test_count_images() -> None:
    counts = polarity_counts(some_events(), 3, 4)
    assert counts.shape == (2, 3, 4) and counts.sum() == 5
    assert counts[0, 0, 0] == 1 and counts[0, 2, 1] == 2 and counts[1, 2, 1] == 1 and counts[1, 1, 3] == 1
    signed = signed_counts(some_events(), 3, 4)
    assert np.array_equal(signed, counts[0] - counts[1]) and signed[2, 1] == 1
    grey = grey_image(np.array([[-9, -2, 0, 1, 2, 9]]), limit=2)
    assert grey.tolist() == [[1, 1, 128, 192, 255, 255]]
    with pytest.raises(ValueError, match="column 3, row 1 of an image of 3x3"):
        signed_counts(some_events(), 3, 3)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_windows_do_not_depend_on_the_size_of_the_chunks(size: int) -> None:
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 1000, 500)) + 10_000
    events = Events.of(t, rng.integers(0, 4, 500), rng.integers(0, 3, 500), rng.integers(0, 2, 500))
    chunks = [events[i : i + size] for i in range(0, 500, size)]
    timed = list(windows_of_time(chunks, 100, start=9_750))
    assert [w.start for w in timed[:4]] == [9750, 9850, 9950, 10050] and len(timed[0].events) == 0
    assert all(w.end == w.start + 100 and ((w.events.t >= w.start) & (w.events.t < w.end)).all() for w in timed)
    assert sum(len(w.events) for w in timed) == (t < timed[-1].end).sum() and t[-1] - timed[-1].end < 100
    assert next(windows_of_time(chunks, 100)).start == t[0]


def test_events_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one of each per event"):
        Events.of([1, 2], [0], [0], [True])
    with pytest.raises(ValueError, match="at least 1"):
        next(windows_of_time([some_events()], 0))
