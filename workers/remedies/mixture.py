"""The classes' shares without a label: texts of a class lie together, so the states are a mixture of k normals.

EM for a mixture whose components have covariances of their own (McLachlan & Peel, Finite Mixture Models, 2000, section
3.2), on the first principal components of the states of the window itself, begun at what the champion answers. It is
about where the texts lie, not about what the head makes of them: a domain's offset, which moves the answers, moves all
of the states alike and changes nothing (ADR 0025).
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from trimtab.features import Floats
from trimtab.stats.label_shift import Doubles, Integers

COMPONENTS = 8
ROUNDS = 60
SURE = 0.8  # of the first responsibilities: how far an answer of the champion is trusted
RIDGE = 1e-6  # of the states' variance, so that a component does not shrink to a point
FEWEST = 2 * COMPONENTS  # answers of every class to begin with


def mixture_shares(states: Floats, answered: Integers, k: int) -> Doubles | None:
    """(k,) shares of the classes among (n, h) states that the champion answered with (n,) classes.

    None where a class was answered, or is left with, too few texts for a covariance.
    """
    if np.bincount(answered, minlength=k).min() < FEWEST:
        return None
    rows = principal(states.astype(np.float64), COMPONENTS)
    taken = np.eye(k)[answered] * SURE + (1.0 - SURE) / k
    for _ in range(ROUNDS):
        taken = softmax(_log_joint(rows, taken), axis=1)
        if taken.sum(axis=0).min() < FEWEST:
            return None
    return np.asarray(taken.mean(axis=0), dtype=np.float64)


def principal(states: Doubles, n: int) -> Doubles:
    """(rows, n) projections on the directions of largest variance; fewer where there are no more."""
    centred = states - states.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(centred @ directions[:n].T)


def _log_joint(rows: Doubles, taken: Doubles) -> Doubles:
    """(n, k) log of share times density of the normals that are fitted to the rows by (n, k) responsibilities."""
    floor = RIDGE * rows.var() * np.eye(rows.shape[1])
    return np.stack([_log_of_one(rows, weights, floor) for weights in taken.T], axis=1)


def _log_of_one(rows: Doubles, weights: Doubles, floor: Doubles) -> Doubles:
    mass = weights.sum()
    away = rows - weights @ rows / mass
    covariance = (away * weights[:, None]).T @ away / mass + floor
    distance = (away * np.linalg.solve(covariance, away.T).T).sum(axis=1)
    return np.asarray(
        np.log(mass / len(rows)) - (distance + np.linalg.slogdet(covariance)[1]) / 2, dtype=np.float64
    )
