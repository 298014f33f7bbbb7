"""The peers' rules on a sliding window, as published or as people write them, and a calibrated largest D.

A rule looks at an (m, d) window against an (n, d) reference and says alarm or not. Here all of them are read off two
numbers a feature, D and the normed Wasserstein distance, so a stream is measured once and judged by every rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import kstwo

from trimtab.features import Floats

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ALPHA = 0.05
WIDE_EFFECT = 0.1  # "any D > 0.1"; also Evidently's threshold of the normed Wasserstein distance
DRIFTED_SHARE = 0.5  # Evidently calls the data set drifted when more than this share of the columns is
EVIDENTLY_KS_ROWS = 1000  # up to so many reference rows Evidently takes KS, above the Wasserstein distance
N_OUTER = 20
N_INNER = 60
TAIL_FROM = 0.9


@dataclass(frozen=True)
class Measured:
    """Every check of one stream. ks, wasserstein: (checks, d); ends: (checks,) events seen at the check."""

    ks: Doubles
    wasserstein: Doubles
    ends: npt.NDArray[np.int64]
    n_reference: int
    window: int


def measure(reference: Floats, stream: Floats, window: int, every: int) -> Measured:
    """Exact two-sample distances of each sliding window of the (t, d) stream, once in `every` events."""
    ordered = np.sort(reference, axis=0)
    ends = np.arange(window, len(stream) + 1, every)
    windows = [np.sort(stream[end - window : end], axis=0) for end in ends]
    return Measured(
        ks=np.stack([ks_distances(ordered, each) for each in windows]),
        wasserstein=np.stack([normed_wasserstein(ordered, each) for each in windows]),
        ends=ends,
        n_reference=len(reference),
        window=window,
    )


def ks_distances(reference: Floats, window: Floats) -> Doubles:
    """(d,) two-sample KS distances of column-sorted (n, d) and (m, d) samples; exact, ties included."""
    n, m = len(reference), len(window)
    found = np.empty(reference.shape[1])
    upto, below = np.arange(1, m + 1) / m, np.arange(m) / m
    for f, (old, new) in enumerate(zip(reference.T, window.T, strict=True)):
        right, left = np.searchsorted(old, new, side="right") / n, np.searchsorted(old, new, side="left") / n
        found[f] = max((upto - right).max(), (left - below).max(), 0.0)
    return found


def normed_wasserstein(reference: Floats, window: Floats) -> Doubles:
    """(d,) Wasserstein-1 distances over the reference's standard deviation; n must be a multiple of m.

    Both samples are sorted by column: with n = q m the quantile functions differ by one sorted difference.

    Raises:
        ValueError: n is no multiple of m.
    """
    times, rest = divmod(len(reference), len(window))
    if rest:
        raise ValueError(f"{len(reference)} reference rows are no multiple of a window of {len(window)}")
    gap = np.abs(reference.astype(np.float64) - np.repeat(window, times, axis=0)).mean(axis=0)
    return np.asarray(gap / np.maximum(reference.std(axis=0), 1e-3))


def critical_ks(alpha: float, n: int, m: int) -> float:
    """D with P(D > it) = alpha without drift: the asymptotic two-sample law that scipy uses, `kstwo`."""
    return float(kstwo.isf(alpha, round(n * m / (n + m))))


def any_p(measured: Measured) -> Bools:
    """p < 0.05 on some feature."""
    return _any_above(measured, critical_ks(ALPHA, measured.n_reference, measured.window))


def bonferroni(measured: Measured) -> Bools:
    """p < 0.05 / d on some feature."""
    alpha = ALPHA / measured.ks.shape[1]
    return _any_above(measured, critical_ks(alpha, measured.n_reference, measured.window))


def any_wide(measured: Measured) -> Bools:
    """D > 0.1 on some feature."""
    return _any_above(measured, WIDE_EFFECT)


def evidently_default(measured: Measured) -> Bools:
    """More than half of the columns drifted: by KS p < 0.05 up to 1,000 reference rows, else by the normed
    Wasserstein distance >= 0.1 (Evidently 0.7, `stattests`, `DataDriftPreset`)."""
    if measured.n_reference <= EVIDENTLY_KS_ROWS:
        drifted = measured.ks > critical_ks(ALPHA, measured.n_reference, measured.window)
    else:
        drifted = measured.wasserstein >= WIDE_EFFECT
    return np.asarray(drifted.mean(axis=1) > DRIFTED_SHARE)


RULES: dict[str, Callable[[Measured], Bools]] = {
    "p < 0.05, any feature": any_p,
    "Bonferroni": bonferroni,
    "any D > 0.1": any_wide,
    "Evidently default": evidently_default,
}


def calibrated_max_ks(reference: Floats, window: int, checks: float, seed: int) -> float:
    """The D that the largest one exceeds at one check in `checks`: double bootstrap of whole rows, its scores
    continued by an exponential tail. The usual remedy for rows that depend on nothing but each other's features."""
    random = np.random.default_rng(seed)
    scores = np.concatenate([_outer_draw(reference, window, random) for _ in range(N_OUTER)])
    p = 1 / checks
    if p >= 1 - TAIL_FROM:
        return float(np.quantile(scores, 1 - p))
    start = float(np.quantile(scores, TAIL_FROM))
    return start + float((scores[scores > start] - start).mean()) * math.log((1 - TAIL_FROM) / p)


def _outer_draw(reference: Floats, window: int, random: np.random.Generator) -> Doubles:
    n = len(reference)
    redrawn = np.sort(reference[random.integers(n, size=n)], axis=0)
    windows = (np.sort(reference[random.integers(n, size=window)], axis=0) for _ in range(N_INNER))
    return np.array([ks_distances(redrawn, each).max() for each in windows])


def _any_above(measured: Measured, critical: float) -> Bools:
    return np.asarray((measured.ks > critical).any(axis=1))


def first_alarm(alarms: Bools, ends: npt.NDArray[np.int64]) -> int | None:
    """Events seen at the first check in alarm; None: none was."""
    return int(ends[alarms.argmax()]) if alarms.any() else None
