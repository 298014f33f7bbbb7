"""Distance of a window to what is known: each accepted domain, and the best convex mixture of them.

Traffic that slides back from one accepted domain to another is a mixture of both for a while; it must not alarm.
Weights are found on binned distribution functions (least squares on the simplex), distances with them are exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from monitoring.ks import (
    CdfAt,
    Doubles,
    Floats,
    SortedReference,
    cdf_at,
    energy,
    ks_from_cdf,
    sort_columns,
    sort_reference,
)

BINS = 64  # quantile bins a feature: 0 <= D - binned D <= 1/64, measured at most 0.0074 on text features
MIXTURE = "mixture"
SUM_WEIGHT = 1e4  # how strongly the least-squares problem is held to weights that sum to 1


@dataclass(frozen=True)
class KnownDomains:
    """References of the accepted domains.

    Attributes:
        names: Domain names, sorted.
        rows: The (n, d) rows of each domain, in the order of `names`.
        references: One sorted reference a domain, in the order of `names`.
        edges: Right bin edges, shape (d, BINS): quantiles of all domains together, equal weight each.
        binned: Distribution of each domain at the edges, shape (domains, d * BINS).
    """

    names: tuple[str, ...]
    rows: tuple[Floats, ...]
    references: tuple[SortedReference, ...]
    edges: Floats
    binned: Doubles


@dataclass(frozen=True)
class Distance:
    """How far a window is from one hypothesis about where it comes from.

    Attributes:
        name: Name of the domain, or `MIXTURE`.
        weights: Share of each domain, shape (domains,), sums to 1.
        ks: Exact D of each feature, shape (d,).
    """

    name: str
    weights: Doubles
    ks: Doubles

    @property
    def energy(self) -> float:
        """Sum of squared D."""
        return energy(self.ks)

    @property
    def max_ks(self) -> float:
        """Largest D."""
        return float(self.ks.max())


def know_domains(rows: Mapping[str, Floats]) -> KnownDomains:
    """Prepare references from (n, d) rows a domain.

    Raises:
        ValueError: no domain, an empty one, or domains with different numbers of features.
    """
    names = tuple(sorted(rows))
    references = tuple(sort_reference(rows[name]) for name in names)
    if len({reference.values.shape[0] for reference in references}) != 1:
        raise ValueError("references need the same features in every domain, and at least one domain")
    edges = _pooled_quantiles(references)
    binned = np.stack([_binned_cdf(reference.values, edges) for reference in references])
    return KnownDomains(names, tuple(rows[name] for name in names), references, edges, binned)


def distances(known: KnownDomains, window: Floats) -> tuple[Distance, ...]:
    """Distance of an (m, d) window to each domain and, with several domains, to their best mixture (last)."""
    points = sort_columns(window)
    cdfs = [cdf_at(reference, points) for reference in known.references]
    candidates = list(zip(known.names, np.eye(len(known.names)), strict=True))
    if len(candidates) > 1:
        candidates.append((MIXTURE, mixture_weights(known, points)))
    return tuple(Distance(name, weights, ks_from_cdf(_mix(cdfs, weights))) for name, weights in candidates)


def mixture_weights(known: KnownDomains, points: Floats) -> Doubles:
    """Convex weights, shape (domains,), whose mixture is nearest in squares to a window sorted by `sort_columns`.

    Non-negative least squares (Lawson and Hanson 1974) with one heavy row for the sum, on the QR factor, so that
    the cost does not grow with the number of bins.
    """
    target = _binned_cdf(points, known.edges)
    q, r = np.linalg.qr(known.binned.T)
    weights, _ = nnls(
        np.vstack([r, np.full(len(known.names), SUM_WEIGHT)]), np.append(q.T @ target, SUM_WEIGHT)
    )
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _pooled_quantiles(references: tuple[SortedReference, ...]) -> Floats:
    levels = np.arange(1, BINS + 1) / BINS
    per_domain = [
        np.quantile(reference.values, levels, axis=1, method="higher").T for reference in references
    ]
    pooled = np.sort(np.concatenate(per_domain, axis=1), axis=1)
    return np.ascontiguousarray(pooled[:, len(references) - 1 :: len(references)])


def _binned_cdf(points: Floats, edges: Floats) -> Doubles:
    counts = [np.searchsorted(column, edge, side="right") for column, edge in zip(points, edges, strict=True)]
    return np.asarray(np.concatenate(counts) / points.shape[1], dtype=np.float64)


def _mix(cdfs: list[CdfAt], weights: Doubles) -> CdfAt:
    return CdfAt(
        np.einsum("i,ijk->jk", weights, np.stack([cdf.at for cdf in cdfs])),
        np.einsum("i,ijk->jk", weights, np.stack([cdf.below for cdf in cdfs])),
    )
