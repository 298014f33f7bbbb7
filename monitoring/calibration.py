"""Thresholds for a false-alarm budget, by double bootstrap of reference rows.

What is promised: without drift, checks above a threshold are no more frequent than the budget allows. Both sources
of noise count: the window is a sample, and so is the reference. Hence each of `N_REFERENCES` outer draws redraws the
reference, then scores `N_WINDOWS` windows drawn from the original rows against it. Whole rows are drawn, so that
dependent features stay dependent. The threshold is the `CONFIDENCE` quantile over the outer draws (Gandy and Kvaloy
2013, doi 10.1002/sjos.12006): it holds for nine references in ten, not just for the average one.

A budget asks for tails beyond what can be simulated. Scores of one outer draw are standardised by its mean and
standard deviation, pooled, and continued by an exponential tail above their 95 % quantile; statistics of this kind
(sums of squares, maxima) have tails at most that heavy. Every check above the threshold counts, although overlapping
windows make them come in runs, and each of the `N_ARMS` statistics gets an equal share of the budget: both err on the
quiet side. Events are taken as independent; traffic in sessions needs blocks (not built yet).
"""

import math
import re
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.ks import Doubles, Floats

N_REFERENCES = 40
N_WINDOWS = 200
CONFIDENCE = 0.9
TAIL_FROM = 0.95
N_ARMS = 2  # energy and max_ks
MAX_ROWS = 5000  # more reference rows add nothing to the precision of windows of 500, only time

_BUDGET = re.compile(r"^\s*(\d+(?:\.\d+)?)\s+per\s+(\d+(?:\.\d+)?)\s*(events|s|m|h|d)\s*$")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Thresholds:
    """Above either, a window is an alarm.

    Attributes:
        energy: Of the sum of squared D.
        max_ks: Of the largest D.
        extrapolation: How many times rarer the promised event is than the rarest simulated one (at most 1: none).
        calibrated: False for the asymptotic stand-in.
    """

    energy: float
    max_ks: float
    extrapolation: float = 0.0
    calibrated: bool = True

    def as_dict(self) -> dict[str, float | bool]:
        """The attributes, for JSON."""
        return asdict(self)


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


def asymptotic_thresholds(n_rows: int, n_features: int, window: int, checks: float) -> Thresholds:
    """Safe thresholds without simulation, from Smirnov's bound P(D > x) <= 2 exp(-2 x^2 nm / (n + m)).

    Bonferroni over features and arms; an energy above d x^2 implies some D above x, so it shares the bound.
    """
    level = math.log(2 * n_features * N_ARMS * checks) / 2
    max_ks = min(math.sqrt(level * (n_rows + window) / (n_rows * window)), 1.0)
    return Thresholds(energy=n_features * max_ks**2, max_ks=max_ks, calibrated=False)


def calibrate(rows: Floats, window: int, checks: float, seed: int = 0) -> Thresholds:
    """Thresholds for windows of `window` events against a reference of (n, d) rows.

    Args:
        rows: The reference, at most `MAX_ROWS` rows (see `thin`).
        window: Events in a window.
        checks: Checks between two allowed false alarms (`checks_per_alarm`).
        seed: The same rows and seed give the same thresholds.
    """
    random = np.random.default_rng(seed)
    scores = np.stack([_outer_draw(_rank_order(rows), window, random) for _ in range(N_REFERENCES)])
    p = 1.0 / (N_ARMS * checks)
    energy_threshold, ks_threshold = (_threshold(scores[:, :, arm], p) for arm in range(N_ARMS))
    return Thresholds(energy_threshold, min(ks_threshold, 1.0), 1.0 / (p * N_REFERENCES * N_WINDOWS))


def thin(rows: Floats) -> Floats:
    """At most `MAX_ROWS` rows, evenly spaced."""
    if len(rows) <= MAX_ROWS:
        return rows
    kept: Floats = rows[np.linspace(0, len(rows) - 1, MAX_ROWS).astype(int)]
    return kept


@dataclass(frozen=True)
class _RankOrder:
    """order: (d, n) row indices that sort each feature; ends: for each feature the last index of every tie."""

    order: NDArray[np.intp]
    ends: tuple[NDArray[np.intp], ...]


def _rank_order(rows: Floats) -> _RankOrder:
    order = np.argsort(rows, axis=0, kind="stable").T
    values = np.take_along_axis(rows.T, order, axis=1)
    last = np.column_stack([values[:, 1:] != values[:, :-1], np.ones(len(values), dtype=bool)])
    return _RankOrder(order, tuple(np.flatnonzero(each) for each in last))


def _outer_draw(ranks: _RankOrder, window: int, random: np.random.Generator) -> Doubles:
    """Energy and largest D, shape (N_WINDOWS, 2), of fresh windows against one redrawn reference.

    Draws are kept as counts of rows: the difference of two distributions is one running sum of counts, exact in
    integers with the common denominator n * window.
    """
    n = ranks.order.shape[1]
    reference = np.bincount(random.integers(n, size=n), minlength=n)
    drawn = random.integers(n, size=(N_WINDOWS, window)) + n * np.arange(N_WINDOWS)[:, None]
    windows = np.bincount(drawn.ravel(), minlength=n * N_WINDOWS).reshape(N_WINDOWS, n)
    excess = np.ascontiguousarray((n * windows - window * reference).T, dtype=np.int32)
    total, largest = np.zeros(N_WINDOWS), np.zeros(N_WINDOWS)
    for order, ends in zip(ranks.order, ranks.ends, strict=True):
        gap = np.cumsum(excess[order], axis=0, dtype=np.int32)
        gap = gap if len(ends) == n else gap[ends]
        ks = np.maximum(gap.max(axis=0), -gap.min(axis=0)) / (n * window)
        total += np.square(ks)
        largest = np.maximum(largest, ks)
    return np.column_stack([total, largest])


def _threshold(scores: Doubles, p: float) -> float:
    """The CONFIDENCE quantile over outer draws (axis 0) of the value exceeded with probability p within a draw."""
    mean, spread = scores.mean(axis=1), scores.std(axis=1)
    standard = (scores - mean[:, None]) / np.where(spread > 0, spread, 1.0)[:, None]
    return float(np.quantile(mean + spread * _tail_quantile(standard.ravel(), p), CONFIDENCE))


def _tail_quantile(values: Doubles, p: float) -> float:
    """The value exceeded with probability p: empirical if p is common, else continued by an exponential tail."""
    if p >= 1.0 - TAIL_FROM:
        return float(np.quantile(values, 1.0 - p))
    start = float(np.quantile(values, TAIL_FROM))
    excess = values[values > start] - start
    scale = float(excess.mean()) if excess.size else 0.0
    return start + scale * math.log((1.0 - TAIL_FROM) / p)
