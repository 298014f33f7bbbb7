"""Exact two-sample Kolmogorov-Smirnov statistics of a window against a reference, for all features at once.

With the reference's n rows sorted once, sup |F_reference - F_window| is reached at a window point, so only the
window's m points are looked up: D = max_i max(i/m - F_ref(w_i), F_ref(w_i-) - (i-1)/m). Exact with ties.
NaN ranks above every number, in the reference and in the window alike.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Doubles: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class SortedReference:
    """Reference values sorted within each feature: `values` has shape (d features, n rows)."""

    values: Floats

    @property
    def n_rows(self) -> int:
        """Rows of the reference."""
        return int(self.values.shape[1])


@dataclass(frozen=True)
class CdfAt:
    """A reference's distribution function at the sorted points of a window: both of shape (d, m).

    `at` counts values <= point, `below` counts values < point; both are shares in [0, 1].
    """

    at: Doubles
    below: Doubles


def sort_columns(rows: Floats) -> Floats:
    """(n, d) rows -> (d, n), each feature sorted."""
    return np.ascontiguousarray(np.sort(rows, axis=0).T)


def sort_reference(rows: Floats) -> SortedReference:
    """Sort (n, d) rows once, for every later window.

    Raises:
        ValueError: there are no rows or no features.
    """
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"a reference needs rows and features, got an array of shape {rows.shape}")
    return SortedReference(sort_columns(rows))


def cdf_at(reference: SortedReference, window: Floats) -> CdfAt:
    """The reference's distribution at the points of a window sorted by `sort_columns`, shape (d, m)."""
    pairs = list(zip(reference.values, window, strict=True))
    at = np.stack([np.searchsorted(values, points, side="right") for values, points in pairs])
    below = np.stack([np.searchsorted(values, points, side="left") for values, points in pairs])
    return CdfAt(at / reference.n_rows, below / reference.n_rows)


def ks_from_cdf(cdf: CdfAt) -> Doubles:
    """D of each feature, shape (d,), from a distribution looked up at the window's m sorted points.

    The distribution may be a convex mixture of several references': a sum of step functions is one.
    """
    m = cdf.at.shape[1]
    steps = np.arange(m + 1) / m
    above: Doubles = (steps[1:] - cdf.at).max(axis=1)
    under: Doubles = (cdf.below - steps[:-1]).max(axis=1)
    return np.maximum(above, under)


def ks_statistics(reference: SortedReference, window: Floats) -> Doubles:
    """D of each feature, shape (d,), of an unsorted (m, d) window; equals `scipy.stats.ks_2samp(...).statistic`."""
    return ks_from_cdf(cdf_at(reference, sort_columns(window)))


def energy(ks: Floats) -> float:
    """Sum of the squared D over features: grows with a shift that is spread over many features."""
    return float(np.square(ks).sum())
