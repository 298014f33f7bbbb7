"""Our detector over one stream: every statistic at every check, so that any budget's thresholds can be laid on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.drift.rules import Bools, Doubles, first_alarm
from monitoring.calibration import Thresholds, calibrate
from monitoring.detector import Detector, Windows
from monitoring.mixture import know_domains
from trimtab.features import Floats

WINDOWS = Windows()  # production's: blocks of 50, windows of 500 and 2,000
DOMAIN = "known"
OUR_ARMS = ("e_detector", "short", "long")
N_ARMS_PROMISED = 4  # with the labels; each gets a quarter of the budget


@dataclass(frozen=True)
class Trace:
    """(checks,) each: events seen, log10 M, the energies of both windows and the largest D of the short one.

    NaN while a window is not full.
    """

    ends: npt.NDArray[np.int64]
    e_detector: Doubles
    short: Doubles
    long: Doubles
    max_ks: Doubles

    def alarms(self, thresholds: Thresholds) -> dict[str, Bools]:
        """(checks,) whether each arm is above its threshold."""
        return {arm: getattr(self, arm) > getattr(thresholds, arm).value for arm in OUR_ARMS}

    def after(self, start: int) -> Trace:
        """The checks that saw more than `start` events; events count from there."""
        kept = self.ends > start
        parts = (each[kept] for each in (self.e_detector, self.short, self.long, self.max_ks))
        return Trace(self.ends[kept] - start, *parts)


def follow(reference: Floats, stream: Floats) -> Trace:
    """The detector of one domain with this (n, d) reference over a (t, d) stream; an incomplete block is not seen."""
    detector = Detector(know_domains({DOMAIN: reference}), WINDOWS)
    ends = np.arange(WINDOWS.block, len(stream) + 1, WINDOWS.block)
    found = np.full((len(ends), 4), np.nan)
    for i, end in enumerate(ends):
        detector.take(stream[end - WINDOWS.block : end])
        found[i] = _numbers(detector)
    return Trace(ends, *found.T)


def thresholds_for(reference: Floats, run_length: float, *, ordered: bool, seed: int = 0) -> Thresholds:
    """Calibrated to one false alarm in `run_length` events, with a check every block."""
    edges = know_domains({DOMAIN: reference}).edges
    return calibrate(reference, edges, WINDOWS, run_length / WINDOWS.block, ordered=ordered, seed=seed)


def first_alarms(trace: Trace, alarms: Mapping[str, Bools]) -> dict[str, int | None]:
    """Events at the first alarm of each arm and, as "union", of any; None: none."""
    found = {arm: first_alarm(each, trace.ends) for arm, each in alarms.items()}
    at = [each for each in found.values() if each is not None]
    return found | {"union": min(at, default=None)}


def _numbers(detector: Detector) -> tuple[float, float, float, float]:
    reading = detector.read()
    short = reading.short[0] if reading.short else None
    return (
        reading.e_detector,
        short.energy if short else np.nan,
        reading.long[0].energy if reading.long else np.nan,
        short.max_ks if short else np.nan,
    )
