"""Our detector over a stream: every arm at every check, alarms by any budget's thresholds."""

from __future__ import annotations

import numpy as np

from benchmarks.drift.trace import WINDOWS, first_alarms, follow, thresholds_for
from monitoring.calibration import OFF, ArmThreshold, Thresholds
from monitoring.detector import Detector
from monitoring.mixture import know_domains

RNG = np.random.default_rng(21)
REFERENCE = RNG.normal(size=(2000, 5)).astype(np.float32)
QUIET = RNG.normal(size=(2500, 5)).astype(np.float32)


def at(e_detector: float, short: float, long: float) -> Thresholds:
    return Thresholds(
        e_detector=ArmThreshold(e_detector, e_detector, e_detector),
        short=ArmThreshold(short, short, short),
        long=ArmThreshold(long, long, long),
    )


def test_a_trace_holds_what_the_detector_reads() -> None:
    trace = follow(REFERENCE, QUIET)
    assert list(trace.ends[:3]) == [50, 100, 150]
    detector = Detector(know_domains({"any": REFERENCE}), WINDOWS)
    detector.take(QUIET[:2100])
    reading = detector.read()
    assert reading.long is not None
    i = list(trace.ends).index(2100)
    assert trace.e_detector[i] == reading.e_detector
    assert trace.short[i] == reading.short[0].energy
    assert trace.long[i] == reading.long[0].energy
    assert trace.max_ks[i] == reading.short[0].max_ks


def test_a_window_that_is_not_full_is_never_in_alarm() -> None:
    trace = follow(REFERENCE, QUIET)
    alarms = trace.alarms(at(OFF, -1.0, -1.0))
    assert first_alarms(trace, alarms) == {"e_detector": None, "short": 500, "long": 2000, "union": 500}


def test_an_incomplete_block_is_not_seen() -> None:
    assert follow(REFERENCE, QUIET[:149]).ends[-1] == 100


def test_counting_from_a_change() -> None:
    later = follow(REFERENCE, QUIET).after(2000)
    assert list(later.ends[:2]) == [50, 100]
    assert len(later.short) == len(later.ends) == 10
    assert not np.isnan(later.long).any()


def test_a_change_is_found_behind_it() -> None:
    thresholds = thresholds_for(REFERENCE, 100_000, ordered=False)
    moved = np.concatenate([QUIET[:2000], QUIET[:1000] + 1])
    trace = follow(REFERENCE, moved)
    before = first_alarms(trace, trace.alarms(thresholds))["union"]
    found = first_alarms(trace.after(2000), trace.after(2000).alarms(thresholds))["union"]
    assert before is None or before > 2000
    assert found is not None
    assert found <= 300


def test_a_longer_run_length_has_higher_thresholds() -> None:
    often, rarely = (thresholds_for(REFERENCE, length, ordered=False) for length in (10_000, 1_000_000))
    assert often.short.value < rarely.short.value
    assert often.long.value < rarely.long.value
