"""How fast could any detector of these features be? The delay of one that was told the drift in advance.

For a change from p to q no detector with a run length of A has a mean delay below log(A) / KL(q | p) as A grows, and
CUSUM of the log likelihood ratio attains it (Lorden 1971, Annals of Mathematical Statistics 42(6), theorem 3). The
likelihood ratio is a logistic model of the standardised features and their squares, fitted on one half of the rows
and judged on the other: it knows the drift as well as such a model can, and no detector without that knowledge does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.features import Floats

Doubles = npt.NDArray[np.float64]

ROUNDS = 30
RIDGES = (
    0.003,
    0.01,
    0.03,
    0.1,
    0.3,
    1.0,
)  # on every weight; the one that tells most on the other half counts
CLIP = 5.0  # standard deviations; text statistics have long tails


@dataclass(frozen=True)
class Bound:
    """kl: nats an event that tell after from before, by the fitted ratio. events: log(run length) / kl; None: no
    information was found."""

    kl: float
    events: float | None


def best_delay(before: Floats, after: Floats, share: float, run_length: float) -> Bound:
    """Bound for traffic of which `share` turns from (n, d) rows like `before` into (m, d) rows like `after`."""
    kl = max(_cross_fitted(before, after, share, ridge) for ridge in RIDGES)
    return Bound(kl, math.log(run_length) / kl if kl > 0 else None)


def _cross_fitted(before: Floats, after: Floats, share: float, ridge: float) -> float:
    halves = [(before[i::2], after[i::2], before[1 - i :: 2], after[1 - i :: 2]) for i in (0, 1)]
    return float(np.mean([_divergence(*_held_out(*half, ridge), share) for half in halves]))


def _held_out(
    old: Floats, new: Floats, other_old: Floats, other_new: Floats, ridge: float
) -> tuple[Doubles, Doubles]:
    """Log density ratio of the other halves' rows by a model of the first ones; its mean ratio on the old ones is 1."""
    centre, spread = old.mean(axis=0), np.maximum(old.std(axis=0), 1e-6)
    weights = fit_logistic(_design(old, centre, spread), _design(new, centre, spread), ridge)
    on_old, on_new = (_design(each, centre, spread) @ weights for each in (other_old, other_new))
    level = np.log(np.exp(on_old).mean())
    return on_old - level, on_new - level


def _divergence(old: Doubles, new: Doubles, share: float) -> float:
    """Mean log ratio of the mixture (1 - share) p + share q to p, under the mixture."""
    return float((1 - share) * _mixture(old, share).mean() + share * _mixture(new, share).mean())


def _mixture(log_ratio: Doubles, share: float) -> Doubles:
    return np.asarray(np.logaddexp(np.log1p(-share), math.log(share) + log_ratio)) if share < 1 else log_ratio


def fit_logistic(old: Doubles, new: Doubles, ridge: float) -> Doubles:
    """(k,) weights of a ridge logistic regression of new (m, k) against old (n, k) rows, both sides weighing alike."""
    rows = np.vstack([old, new])
    target = np.concatenate([np.zeros(len(old)), np.ones(len(new))])
    mass = np.concatenate([np.full(len(old), 0.5 / len(old)), np.full(len(new), 0.5 / len(new))])
    weights = np.zeros(rows.shape[1])
    for _ in range(ROUNDS):
        p = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        gradient = rows.T @ (mass * (p - target)) + ridge * weights
        curvature = (rows * (mass * p * (1 - p))[:, None]).T @ rows + ridge * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _design(rows: Floats, centre: Floats, spread: Floats) -> Doubles:
    standard = np.clip((rows - centre) / spread, -CLIP, CLIP).astype(np.float64)
    return np.hstack([np.ones((len(rows), 1)), standard, np.square(standard) - 1])
