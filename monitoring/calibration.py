"""Thresholds for a false-alarm budget, by double bootstrap of a reference's own rows.

What is promised: without drift, looks above a threshold are no more frequent than the budget allows. Both sources of
noise count: the stream is a sample, and so is the reference. Hence each of `N_REFERENCES` outer draws redraws the
reference, then runs the real detector over a stream drawn from the original rows (`monitoring.bootstrap`). The
threshold is the larger of two: the one that keeps the promise on average over references, and the `CONFIDENCE`
quantile of those that keep it for one each (Gandy and Kvaloy 2013, doi 10.1002/sjos.12006), since a user has one
reference. Neither implies the other: a few unlucky references can carry most of the alarms.

The budget is shared equally by the `ARMS`; rates of false alarms add, whatever the dependence between arms. The
promise is kept look by look, not alarm by alarm: overlapping windows cross a threshold in runs, but under load looks
lie further apart than blocks do and then each of a run's looks may be the only one. So a run of several looks counts
several times, and realised alarms are rarer than promised.

A budget asks for tails beyond what can be simulated. Pooled scores are continued by an exponential tail above their
95 % quantile: sums of squares have tails at most that heavy, and log M of the e-detector has just that one (Kesten
1973, Goldie 1991). For the second threshold the scores of a draw are standardised by its mean and standard deviation
before they are pooled.

Where traffic depends on itself in time the e-detector is off: its evidence multiplies what sessions repeat.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from monitoring.bootstrap import Scores, draw, first_look
from monitoring.dependence import block_length
from monitoring.detector import Windows
from monitoring.e_detector import reach
from monitoring.histograms import Doubles, Floats, bin_rows
from trimtab.settings import BUDGET

ARMS = ("e_detector", "short", "long", "labels")
N_REFERENCES = 40
N_BLOCKS = 400  # of the stream of an outer draw, the first ones without a look
CONFIDENCE = 0.9
TAIL = 0.05  # share of the pooled scores that the tail is fitted to
N_RESAMPLES = 200  # of the outer draws, for the interval of a threshold
OFF = 1e9  # threshold of an e-detector that cannot be trusted: log10 M never gets there

_BUDGET = re.compile(BUDGET)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class ArmThreshold:
    """Above `value` an arm is in alarm; `low` to `high` is a 90 % interval of the simulation's own error."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Above any of them, a look is an alarm.

    Attributes:
        e_detector: Of log10 of the mean M; `OFF` when the reference is too small or its traffic too dependent.
        short: Of the short window's energy.
        long: Of the long window's energy.
        extrapolation: How many times rarer the promised event is than the rarest simulated one (at most 1: none).
        block_length: Events in the stretches that were drawn; 1 when events were taken as independent.
        calibrated: False for the safe stand-in.
    """

    e_detector: ArmThreshold
    short: ArmThreshold
    long: ArmThreshold
    extrapolation: float = 0.0
    block_length: int = 1
    calibrated: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` gave.

        Raises:
            KeyError, TypeError: it was something else.
        """
        arms = {name: ArmThreshold(**data[name]) for name in ("e_detector", "short", "long")}
        return cls(**(dict(data) | arms))


def checks_per_alarm(budget: str, check_every: int, check_every_s: float) -> float:
    """Checks between two allowed false alarms, for a budget such as "1 per 30d" or "1 per 100000 events".

    A check needs `check_every` new events and `check_every_s` seconds since the last one, so neither kind of budget
    sees more checks than this.

    Raises:
        ValueError: the budget cannot be read, or allows an alarm at every check.
    """
    match = _BUDGET.match(budget)
    if match is None:
        raise ValueError(f'{budget!r} is no false-alarm budget: write "1 per 30d" or "1 per 100000 events"')
    alarms, period, unit = float(match[1]), float(match[2]), match[3]
    checks = period / check_every if unit == "events" else period * _SECONDS[unit] / check_every_s
    if alarms <= 0 or checks / alarms <= 1:
        raise ValueError(f"{budget!r} leaves {checks:.3g} checks for {alarms:g} alarms: allow fewer alarms")
    return checks / alarms


def safe_thresholds(n_rows: int, n_features: int, windows: Windows, checks: float) -> Thresholds:
    """Thresholds without simulation, safe for independent events.

    Windows: Smirnov's bound P(D > x) <= 2 exp(-2 x^2 nm / (n + m)) with Bonferroni over features; an energy above
    d x^2 implies some D above x. E-detector: its theorem, times 2 for a reference that is itself a sample.
    """
    level = math.log(2 * n_features * len(ARMS) * checks) / 2
    ks_squared = [min(level * (n_rows + m) / (n_rows * m), 1.0) for m in (windows.short, windows.long)]
    values = [math.log10(2 * len(ARMS) * checks), *(n_features * each for each in ks_squared)]
    e_detector, short, long = (ArmThreshold(each, each, each) for each in values)
    return Thresholds(e_detector=e_detector, short=short, long=long, calibrated=False)


def calibrate(
    rows: Floats,
    edges: Floats,
    windows: Windows,
    checks: float,
    *,
    ordered: bool,
    seed: int = 0,
    n_references: int = N_REFERENCES,
    n_blocks: int = N_BLOCKS,
) -> Thresholds:
    """Simulated thresholds for traffic that looks like the (n, d) rows of a reference.

    Args:
        rows: The reference; if `ordered`, in order of time.
        edges: Bin edges that the detector uses, (d, BINS - 1).
        windows: Sizes of the detector's windows.
        checks: Checks between two allowed false alarms (`checks_per_alarm`).
        ordered: Whether dependence between neighbouring rows is to be looked for, and kept.
        seed: The same arguments give the same thresholds.
        n_references: Outer draws.
        n_blocks: Blocks of an outer draw's stream that have a look.
    """
    random = np.random.default_rng(seed)
    bins, length = bin_rows(edges, rows), block_length(rows) if ordered else 1
    total = n_blocks + first_look(windows) - 1
    draws = [draw(bins, windows, total, length, random) for _ in range(n_references)]
    p = 1.0 / (len(ARMS) * checks)
    return Thresholds(
        e_detector=_e_detector_threshold(draws, rows.shape[1], length, p, random),
        short=_threshold(np.stack([each.short for each in draws]), p, random),
        long=_threshold(np.stack([each.long for each in draws]), p, random),
        extrapolation=1.0 / (p * n_references * n_blocks),
        block_length=length,
    )


def _e_detector_threshold(
    draws: list[Scores], d: int, length: int, p: float, random: np.random.Generator
) -> ArmThreshold:
    """`OFF` on dependent traffic, where bets grow without a change, and where one drifting feature is not enough."""
    threshold = _threshold(np.stack([each.e_detector for each in draws]), p, random)
    growing = sum(each.growing for each in draws) > (1 - CONFIDENCE) * len(draws)
    if length > 1 or growing or threshold.value > reach(d):
        return ArmThreshold(OFF, OFF, OFF)
    return threshold


def _threshold(scores: Doubles, p: float, random: np.random.Generator) -> ArmThreshold:
    """Threshold of scores (draws, looks) for a probability p a look, with the interval over resampled draws."""
    n = len(scores)
    mean, spread = scores.mean(axis=1), scores.std(axis=1)
    standard = (scores - mean[:, None]) / np.where(spread > 0, spread, 1.0)[:, None]
    pooled, within = _fit(scores, max(p, TAIL)), _fit(standard, max(p, TAIL))

    def values(draws: NDArray[np.intp]) -> Doubles:
        each = mean[draws] + spread[draws] * _exceeded(within, draws, p)[..., None]
        return np.asarray(np.maximum(np.quantile(each, CONFIDENCE, axis=-1), _exceeded(pooled, draws, p)))

    low, high = np.quantile(values(random.integers(n, size=(N_RESAMPLES, n))), [0.05, 0.95])
    return ArmThreshold(float(values(np.arange(n))), float(low), float(high))


@dataclass(frozen=True)
class _Tail:
    """Scores (draws, looks) above `start`, a draw each: how many, and by how much in sum."""

    start: float
    n_above: Doubles
    excess: Doubles
    n_looks: int


def _fit(scores: Doubles, share: float) -> _Tail:
    start = float(np.quantile(scores, 1.0 - share))
    excess = np.maximum(scores - start, 0.0)
    return _Tail(start, (excess > 0).sum(axis=1).astype(np.float64), excess.sum(axis=1), scores.shape[1])


def _exceeded(tail: _Tail, draws: NDArray[np.intp], p: float) -> Doubles:
    """What a look at one of these draws (..., n) exceeds with probability p, (...); the scale is the mean excess."""
    n_above = np.maximum(tail.n_above[draws].sum(axis=-1), 1.0)
    scale = tail.excess[draws].sum(axis=-1) / n_above
    return np.asarray(tail.start + scale * np.log(n_above / (draws.shape[-1] * tail.n_looks * p)))
