"""Does the monitor keep its promise on a user's own reference? The reference is split, and one part plays traffic.

Each run splits the rows afresh: one half is the reference and is calibrated, the other half is the stream, each row at
most once (drawn with replacement, a stream would repeat the error of its own half and alarm for that). Where rows are
in order of time both halves are stretches of it. A run is a real detector, looked at after every block.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from monitoring.calibration import Thresholds, calibrate
from monitoring.detector import Detector, Windows
from monitoring.histograms import Floats
from monitoring.mixture import know_domains

STATISTICS = ("e_detector", "short", "long")
BAND = 0.99
N_POINTS = 10


@dataclass(frozen=True)
class CurvePoint:
    """Share of the runs that alarmed within so many events of their first look, and the most that was promised."""

    events: int
    share: float
    promised: float


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """What the runs showed.

    Attributes:
        budget_events: Events between two allowed false alarms.
        runs: Number of runs.
        events: Events that each run was watched for: from its first look on.
        alarms: Runs with an alarm.
        expected: Runs with an alarm that are allowed on average, runs * (1 - exp(-events / budget_events)).
        low: Fewer alarms than this are rarer than one test in 200: the thresholds are more cautious than asked for.
        high: More alarms than this are that rare when the promise is kept. Runs share rows, and runs on ordered rows
            share most of them, so that the band is somewhat narrow.
        realised_per_budget: False alarms for each one that is allowed.
        held: Whether the promise held: alarms <= high.
        block_length: Longest stretch in which the traffic of a run was taken as dependent; 1 for none.
        arms: Runs in which each arm was in alarm at the run's first alarm.
        curve: First alarms over time.
    """

    budget_events: float
    runs: int
    events: int
    alarms: int
    expected: float
    low: int
    high: int
    realised_per_budget: float
    held: bool
    block_length: int
    arms: dict[str, int]
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class _Run:
    """`first_alarm` in events from the first look on; None without one."""

    first_alarm: int | None
    arms: frozenset[str]
    block_length: int


def selftest(
    rows: Floats,
    windows: Windows,
    *,
    ordered: bool,
    run_length_events: float = 10_000,
    runs: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> SelfTest:
    """Count the first false alarms of runs over the (n, d) rows of a reference.

    Args:
        rows: The reference; in order of time if `ordered`.
        windows: Sizes of the detector's windows.
        ordered: Whether the order of the rows means something.
        run_length_events: Events between two allowed false alarms.
        runs: Number of fresh splits, each with its own calibration (about a second).
        seed: Of the splits.
        progress: Called with runs done and runs to do after each run.

    Raises:
        ValueError: half of the rows does not fill the short window.
    """
    events = len(rows) // 2 // windows.block * windows.block - windows.short + windows.block
    if events <= 0:
        raise ValueError(f"a self-test needs {2 * windows.short} reference rows, there are {len(rows)}")
    random = np.random.default_rng(seed)
    found: list[_Run] = []
    for _ in range(runs):
        order = _order(len(rows), ordered, random)
        found.append(_run(rows[order], windows, run_length_events / windows.block, ordered))
        if progress is not None:
            progress(len(found), runs)
    return _summary(found, events, run_length_events)


def _order(n: int, ordered: bool, random: np.random.Generator) -> NDArray[np.intp]:
    return (np.arange(n) + random.integers(n)) % n if ordered else random.permutation(n)


def _run(rows: Floats, windows: Windows, checks: float, ordered: bool) -> _Run:
    reference, stream = rows[len(rows) // 2 :], rows[: len(rows) // 2]
    known = know_domains({"reference": reference})
    thresholds = calibrate(reference, known.edges, windows, checks, ordered=ordered)
    detector = Detector(known, windows)
    for start in range(0, len(stream) - windows.block + 1, windows.block):
        detector.take(stream[start : start + windows.block])
        arms = _alarms(detector, thresholds)
        if arms:
            return _Run(start + 2 * windows.block - windows.short, arms, thresholds.block_length)
    return _Run(None, frozenset(), thresholds.block_length)


def _alarms(detector: Detector, thresholds: Thresholds) -> frozenset[str]:
    if not detector.full:
        return frozenset()
    reading = detector.read()
    above = {
        "e_detector": reading.e_detector > thresholds.e_detector.value,
        "short": reading.short[0].energy > thresholds.short.value,
        "long": reading.long is not None and reading.long[0].energy > thresholds.long.value,
    }
    return frozenset(name for name, alarm in above.items() if alarm)


def _summary(found: list[_Run], events: int, budget_events: float) -> SelfTest:
    runs, alarms = len(found), sum(run.first_alarm is not None for run in found)
    allowed = _promised(events, budget_events)
    low, high = (int(edge) for edge in binom.interval(BAND, runs, allowed))
    rate = -math.log1p(-min(alarms, runs - 0.5) / runs) * budget_events / events
    return SelfTest(
        budget_events=budget_events,
        runs=runs,
        events=events,
        alarms=alarms,
        expected=runs * allowed,
        low=low,
        high=high,
        realised_per_budget=rate,
        held=alarms <= high,
        block_length=max(run.block_length for run in found),
        arms={name: sum(name in run.arms for run in found) for name in STATISTICS},
        curve=tuple(_point(found, events * i // N_POINTS, budget_events) for i in range(1, N_POINTS + 1)),
    )


def _point(found: list[_Run], events: int, budget_events: float) -> CurvePoint:
    by_then = sum(run.first_alarm is not None and run.first_alarm <= events for run in found)
    return CurvePoint(events, by_then / len(found), _promised(events, budget_events))


def _promised(events: float, budget_events: float) -> float:
    return -math.expm1(-events / budget_events)
