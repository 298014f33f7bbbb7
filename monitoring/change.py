"""When did it change? The first sample of the newest stretch that differs from the known domains.

Labelled samples from before the change must not count as examples of the new domain, so the estimate errs late.
"""

import numpy as np

from monitoring.histograms import Doubles, Floats

N_NEWEST = 100  # samples at the end taken as changed at first: half of what a strong drift needs to alarm
N_ROUNDS = 3  # after each round all samples behind the estimate sharpen the direction
RIDGE = 0.1  # of the mean variance, added to the covariance: directions with little variance are not trusted
LATE_EVIDENCE = (
    3.0  # log likelihood ratio (a factor of 20) of changed samples that the estimate leaves behind
)


def change_start(before: Floats, samples: Floats) -> int:
    """Index of the first changed sample among (n, d) samples in order of arrival.

    `before` holds (r, d) rows, in any order, that look like the samples before the change.

    Each feature becomes its rank u in the known domain and (2u - 1)^2, so that shifts and changes of spread both
    show. Along the linear discriminant of the changed against the known ranks each sample has a log likelihood
    ratio; the running sum is smallest where the change began (Page 1954). n - 1 at most.
    """
    known = np.sort(before, axis=0)
    ranks, reference = _ranks(known, samples), _ranks(known, before)
    centre = reference.mean(axis=0)
    precision = _precision(reference)
    start = max(len(samples) - N_NEWEST, 0)
    for _ in range(N_ROUNDS):
        changed = ranks[start:].mean(axis=0)
        evidence = (ranks - (changed + centre) / 2) @ (precision @ (changed - centre))
        start = min(_lowest(evidence), max(len(samples) - N_NEWEST // 2, 0))
    return start


def _lowest(evidence: Doubles) -> int:
    """Where the running sum leaves its minimum for good: the first index that is LATE_EVIDENCE above it."""
    total = np.concatenate([[0.0], np.cumsum(evidence)])
    lowest = int(total.argmin())
    behind = np.flatnonzero(total[lowest:] >= total[lowest] + LATE_EVIDENCE)
    return min(lowest + int(behind[0]) if behind.size else lowest, len(evidence) - 1)


def _ranks(known: Floats, rows: Floats) -> Doubles:
    """(n, 2 d): mid-ranks in [0, 1] among columns sorted before, and their squared distance from the middle."""
    columns = [
        (values.searchsorted(column, side="left") + values.searchsorted(column, side="right"))
        / (2 * len(known))
        for values, column in zip(known.T, rows.T, strict=True)
    ]
    ranks = np.column_stack(columns)
    return np.hstack([ranks, np.square(2 * ranks - 1)])


def _precision(ranks: Doubles) -> Doubles:
    covariance = np.atleast_2d(np.cov(ranks, rowvar=False))
    ridge = RIDGE * np.trace(covariance) / len(covariance)
    inverse: Doubles = np.linalg.inv(covariance + max(ridge, 1e-9) * np.eye(len(covariance)))
    return inverse
