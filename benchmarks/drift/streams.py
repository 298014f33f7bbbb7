"""Traffic without drift: where the reference and the stream of one run come from.

Real text is split without replacement: reference and stream are disjoint parts of one shuffled pool, so they differ
exactly as two samples of one population do (the variance of the difference of two means of a random split is
S^2 (1/n + 1/m), as for independent samples). A resampled pool would be another population than the reference's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.features import Floats, Integers

N_CLUSTERS = 12
KMEANS_ROUNDS = 25


@dataclass(frozen=True)
class Split:
    """Indices of one run: the reference and, disjoint from it, the stream. Both are in order of arrival."""

    reference: Integers
    stream: Integers


def independent(pool: Integers, n_reference: int, n_stream: int, random: np.random.Generator) -> Split:
    """A fresh random split of the pool.

    Raises:
        ValueError: the pool is too small.
    """
    return _cut(random.permutation(pool), n_reference, n_stream)


def in_sessions(
    pool: Integers,
    clusters: Integers,
    mean_length: float,
    n_reference: int,
    n_stream: int,
    random: np.random.Generator,
) -> Split:
    """Constructed sessions: the shuffled rows of each cluster are cut into runs of geometric length, and the runs
    are shuffled, so that neighbours in time are alike and nothing drifts.

    `clusters` (m,) is the cluster of each row of the pool.

    Raises:
        ValueError: the pool is too small.
    """
    sessions: list[Integers] = []
    for cluster in np.unique(clusters):
        rows = random.permutation(pool[clusters == cluster])
        ends = np.cumsum(random.geometric(1 / mean_length, size=len(rows)))
        sessions += [each for each in np.split(rows, ends[ends < len(rows)]) if len(each)]
    order = random.permutation(len(sessions))
    return _cut(np.concatenate([sessions[i] for i in order]), n_reference, n_stream)


def correlated_gaussians(n: int, d: int, rho: float, random: np.random.Generator) -> Floats:
    """(n, d) independent rows of standard normals with correlation rho between any two features."""
    common = random.standard_normal((n, 1))
    own = random.standard_normal((n, d))
    return np.asarray(np.sqrt(rho) * common + np.sqrt(1 - rho) * own, dtype=np.float32)


def kmeans(states: Floats, n_clusters: int = N_CLUSTERS, seed: int = 0) -> Integers:
    """(n,) cluster of each (n, h) state, by Lloyd's rounds from rows drawn at random."""
    random = np.random.default_rng(seed)
    centres = states[random.choice(len(states), n_clusters, replace=False)]
    for _ in range(KMEANS_ROUNDS):
        nearest = _nearest(states, centres)
        centres = np.stack([_mean(states[nearest == c], centres[c]) for c in range(n_clusters)])
    return _nearest(states, centres)


def mixed(parts: Sequence[Integers], shares: npt.ArrayLike, n: int, random: np.random.Generator) -> Integers:
    """n indices in random order: each is of part k with probability shares[k], without replacement within a part.

    Raises:
        ValueError: a part is used up.
    """
    origin = random.choice(len(parts), size=n, p=np.asarray(shares, dtype=float))
    found = np.empty(n, dtype=np.int64)
    for k, part in enumerate(parts):
        places = np.flatnonzero(origin == k)
        if len(places) > len(part):
            raise ValueError(f"part {k} has {len(part)} rows, {len(places)} are needed")
        found[places] = random.permutation(part)[: len(places)]
    return found


def _cut(order: Integers, n_reference: int, n_stream: int) -> Split:
    if len(order) < n_reference + n_stream:
        raise ValueError(f"{len(order)} rows are no reference of {n_reference} and a stream of {n_stream}")
    return Split(order[:n_reference], order[n_reference : n_reference + n_stream])


def _nearest(states: Floats, centres: Floats) -> Integers:
    distances = np.square(centres).sum(axis=1) - 2 * states @ centres.T
    return np.asarray(distances.argmin(axis=1), dtype=np.int64)


def _mean(rows: Floats, otherwise: Floats) -> Floats:
    return np.asarray(rows.mean(axis=0), dtype=np.float32) if len(rows) else otherwise
