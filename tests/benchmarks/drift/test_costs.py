"""Costs: bytes are counted once, and what is measured is what runs."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import numpy as np

from benchmarks.drift.costs import cpu_of, measure_memory, measure_small, state_bytes
from benchmarks.drift.trace import WINDOWS
from monitoring.detector import Detector
from monitoring.mixture import know_domains


def test_arrays_are_found_wherever_they_are() -> None:
    array = np.zeros(100)
    thing = SimpleNamespace(a=[array, "text", 3], b={"x": deque([np.zeros(10)])}, c=None)
    assert state_bytes(thing) == 880


def test_a_shared_array_counts_once_and_a_view_as_its_owner() -> None:
    array = np.zeros((100, 10))
    assert state_bytes([array, array, array[:5], array.T]) == array.nbytes
    assert state_bytes([array[:1]]) == array.nbytes


def test_the_state_of_a_detector_does_not_grow() -> None:
    rows = np.random.default_rng(71).normal(size=(6000, 8)).astype(np.float32)
    detector = Detector(know_domains({"any": rows[:2000].copy()}), WINDOWS)
    detector.take(rows[2000:4000])
    full = state_bytes(detector)
    detector.take(rows[4000:])
    assert state_bytes(detector) == full
    assert full > 2 * 2000 * 8 * 4  # reference and long window are part of it


def test_cpu_time_is_that_of_the_call() -> None:
    matrix = np.random.default_rng(72).normal(size=(300, 300))
    short, long = cpu_of(lambda: None), cpu_of(lambda: [np.linalg.svd(matrix) for _ in range(5)])
    assert 0 <= short < long


def test_the_small_costs_and_the_memory_curve() -> None:
    small = measure_small(5, 0)
    assert small["event_us"] > 0
    assert small["check_us"] > 0
    memory = measure_memory(60_000, 0)
    assert [seen for seen, _ in memory["curve"]] == [50_000, 100_000]
    assert all(rss > 1_000_000 for _, rss in memory["curve"])
