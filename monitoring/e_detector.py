"""Shiryaev-Roberts e-detector over binned ranks: evidence for a change that began at any block.

Shin, Ramdas and Rinaldo 2023, "E-detectors: a nonparametric framework for sequential change detection"
(doi 10.51387/23-NEJSDS51): M_b = (M_{b-1} + 1) E_b, where the payoff E_b of a block has expectation at most 1 as long
as nothing changed. Then E[M_b] <= b, and by optional stopping an alarm at M >= A comes after A blocks or more on
average. The mean over features and bets is again an e-detector, however the features depend on each other.

A payoff is 1 + eps b(u), u the rank of an event under the null, b(u) = 2u - 1 (location) or 6u^2 - 6u + 1 (scale),
averaged over the bin that the event lies in, so that its mean under the null's histogram is exactly 1. Drift smaller
than about |eps| Var(b) / 2 shrinks M: the smallest |eps| is a floor under which nothing is ever called a change.
"""

import math

import numpy as np

from monitoring.histograms import Counts, Doubles, Floats

N_BETS = 8
_EPS = np.array([0.45, -0.45, 0.9, -0.9])
# Above any threshold; a smaller M is an e-detector still. Without it, M would need as long to fall after a drift that
# ended as that drift lasted, and alarm all the while.
CEILING = 15 * math.log(10)
_ERROR_PAID = 4.0  # standard errors of the reference that a bet is protected against


def log_payoffs(null: Doubles, n_rows: float = math.inf) -> Doubles:
    """Log payoffs (d, BINS, N_BETS) of one event in each bin, for a null distribution (d, BINS).

    A null known from `n_rows` rows only is off by about 1/sqrt(n_rows), and a bet on that error would grow for ever.
    Every bet pays for it in advance: so much that against a reference `_ERROR_PAID` standard errors off it still
    shrinks at half of its usual rate. From a few thousand rows on there is nothing to pay.
    """
    right = np.clip(null, 0.0, 1.0)
    left = np.concatenate([np.zeros_like(right[:, :1]), right[:, :-1]], axis=1)
    location = left + right - 1
    scale = 2 * (left**2 + left * right + right**2) - 3 * (left + right) + 1
    table = [
        np.log1p(eps * bet) - _price(abs(eps), _variance(bet, right - left, n_rows), n_rows)[:, None]
        for bet in (location, scale)
        for eps in _EPS
    ]
    return np.stack(table, axis=-1)


def start(d: int) -> Doubles:
    """Log M of d features before the first block: M = 0, (d, N_BETS)."""
    return np.full((d, N_BETS), -np.inf)


def block_evidence(counts: Floats | Counts, payoffs: Floats) -> Floats:
    """Log E (..., d, N_BETS) of blocks with counts (..., d, BINS), in the precision of the payoffs."""
    evidence: Floats = np.matmul(counts[..., None, :], payoffs, dtype=payoffs.dtype)[..., 0, :]
    return evidence


def advance(log_m: Doubles, counts: Counts, payoffs: Floats) -> Doubles:
    """Log M (d, N_BETS) after a block with counts (d, BINS), at most `CEILING`."""
    return np.minimum(np.logaddexp(log_m, 0.0) + block_evidence(counts, payoffs), CEILING)


def reach(d: int) -> float:
    """The largest statistic that a single bet on one of d features can bring about."""
    return CEILING / math.log(10) - math.log10(d * N_BETS)


def log10_statistic(log_m: Doubles) -> float:
    """log10 of the mean of M over features and bets; -inf before the first block."""
    largest = float(log_m.max())
    if not math.isfinite(largest):
        return largest
    return (largest + math.log(np.exp(log_m - largest).mean())) / math.log(10)


def _variance(bet: Doubles, shares: Doubles, n_rows: float) -> Doubles:
    """Of a bet (d, BINS) under the null, (d,): 1/3 or 1/5 for a feature without ties, small for one that is rarely not
    the same. At least 1/n_rows, for what n_rows rows never showed may still come that often.
    """
    seen = (shares * np.square(bet)).sum(axis=-1)
    return np.asarray(np.maximum(seen, 1.0 / n_rows), dtype=np.float64)


def _price(eps: float, variance: Doubles, n_rows: float) -> Doubles:
    """What a bet pays for each event: log of a bound on its mean under the error that it is protected against."""
    error = _ERROR_PAID * np.sqrt(variance / n_rows)
    return np.asarray(np.log1p(eps * np.maximum(error - eps * variance / 4, 0.0)), dtype=np.float64)
