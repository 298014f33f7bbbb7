"""Histograms over fixed reference-quantile bins: the one data structure of the monitor.

Counts of disjoint sets of events add up to the counts of their union, so windows slide, replicas merge and a crashed
monitor resumes without an error of even the last bit. What is lost is resolution: with D the exact two-sample
Kolmogorov-Smirnov statistic against a single reference, 0 <= D - D_binned <= 1/BINS + the largest share of the
reference that lies on one edge.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Doubles: TypeAlias = NDArray[np.float64]
Bins: TypeAlias = NDArray[np.uint8]
Counts: TypeAlias = NDArray[np.int64]

BINS = 64


def fit_edges(rows: Sequence[Floats]) -> Floats:
    """Inner bin edges (d, BINS - 1): pooled quantiles of one or more domains' (n, d) rows, equal weight each.

    NaN ranks above every number.

    Raises:
        ValueError: no domain, an empty one, or domains with different numbers of features.
    """
    if not rows or any(each.ndim != 2 or 0 in each.shape for each in rows):
        raise ValueError("a reference needs at least one domain, and rows and features in each")
    if len({each.shape[1] for each in rows}) != 1:
        raise ValueError("references need the same features in every domain")
    pooled = np.sort(np.concatenate([_quantiles(each) for each in rows], axis=1), axis=1)
    edges = np.ascontiguousarray(pooled[:, len(rows) - 1 :: len(rows)])
    return np.where(np.isnan(edges), np.inf, edges).astype(edges.dtype)


def bin_rows(edges: Floats, rows: Floats) -> Bins:
    """Bin numbers (n, d) of (n, d) rows: as many as there are edges below the value; NaN lies in the last bin.

    Raises:
        ValueError: the rows have another number of features than the edges.
    """
    columns = np.ascontiguousarray(rows.T)
    bins = np.empty(columns.shape, dtype=np.uint8)
    for edge, column, out in zip(edges, columns, bins, strict=True):
        out[:] = edge.searchsorted(column)
    return bins.T


def count(bins: Bins) -> Counts:
    """Events in each bin, (d, BINS), of (n, d) bin numbers."""
    d = bins.shape[1]
    cells = bins + BINS * np.arange(d)
    return np.bincount(cells.ravel(), minlength=d * BINS).reshape(d, BINS).astype(np.int64, copy=False)


def distribution(counts: Counts) -> Doubles:
    """Distribution function at the right edge of each bin, (..., d, BINS), of counts of at least one event."""
    total = np.cumsum(counts, axis=-1, dtype=np.int64)
    return np.asarray(total / total[..., -1:], dtype=np.float64)


def ks_binned(a: Doubles, b: Doubles) -> Doubles:
    """Largest difference of two distributions in each feature, (..., d)."""
    return np.asarray(np.abs(a - b).max(axis=-1), dtype=np.float64)


def energy(ks: Doubles) -> float:
    """Sum of the squared D over features: grows with a shift that is spread over many features."""
    return float(np.square(ks).sum())


def _quantiles(rows: Floats) -> Floats:
    """(d, BINS - 1): the smallest value with at least k/BINS of the rows at or below it."""
    at = -(-np.arange(1, BINS) * len(rows) // BINS) - 1
    return np.ascontiguousarray(np.sort(rows, axis=0)[at].T)
