"""What a version knows: each accepted domain, and the best convex mixture of them for a window.

Traffic that slides back from one accepted domain to another is a mixture of both for a while; it must not alarm.
Weights are found on binned distribution functions (least squares on the simplex).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import nnls

from monitoring.histograms import Counts, Doubles, Floats, bin_rows, count, distribution, fit_edges

MIXTURE = "mixture"
SUM_WEIGHT = 1e4  # how strongly the least-squares problem is held to weights that sum to 1


@dataclass(frozen=True)
class Hypothesis:
    """A claim about where a window comes from.

    Attributes:
        name: Name of a domain, or `MIXTURE`.
        weights: Share of each domain, (domains,), sums to 1.
        distribution: What the window should look like, (d, BINS).
    """

    name: str
    weights: Doubles
    distribution: Doubles


@dataclass(frozen=True)
class KnownDomains:
    """References of the accepted domains.

    Attributes:
        names: Domain names, sorted.
        rows: The (n, d) rows of each domain, in the order of `names`.
        edges: Bin edges shared by all domains, (d, BINS - 1).
        counts: Rows in each bin, (domains, d, BINS).
        distributions: Distribution functions at the bins' right edges, (domains, d, BINS).
    """

    names: tuple[str, ...]
    rows: tuple[Floats, ...]
    edges: Floats
    counts: Counts
    distributions: Doubles

    @property
    def n_features(self) -> int:
        """d."""
        return int(self.edges.shape[0])

    @cached_property
    def domains(self) -> tuple[Hypothesis, ...]:
        """One hypothesis a domain: all traffic comes from it."""
        ones = np.eye(len(self.names))
        return tuple(Hypothesis(*each) for each in zip(self.names, ones, self.distributions, strict=True))

    @cached_property
    def factors(self) -> tuple[Doubles, Doubles]:
        """Q (d BINS, domains) and R (domains, domains) of the distributions: the cost of a fit is that of Q'x."""
        q, r = np.linalg.qr(self.distributions.reshape(len(self.names), -1).T)
        return np.asarray(q), np.asarray(r)


def know_domains(rows: Mapping[str, Floats]) -> KnownDomains:
    """Prepare references from (n, d) rows a domain.

    Raises:
        ValueError: no domain, an empty one, or domains with different numbers of features.
    """
    names = tuple(sorted(rows))
    ordered = tuple(rows[name] for name in names)
    edges = fit_edges(ordered)
    counts = np.stack([count(bin_rows(edges, each)) for each in ordered])
    return KnownDomains(names, ordered, edges, counts, distribution(counts))


def hypotheses(known: KnownDomains, window: Doubles) -> tuple[Hypothesis, ...]:
    """Every domain and, with several, their best mixture (last) for a window's (d, BINS) distribution."""
    if len(known.names) == 1:
        return known.domains
    weights = mixture_weights(known, window)
    return (*known.domains, Hypothesis(MIXTURE, weights, mix(known, weights)))


def mixture_weights(known: KnownDomains, window: Doubles) -> Doubles:
    """Convex weights, (domains,), whose mixture is nearest in squares to a window's (d, BINS) distribution.

    Non-negative least squares (Lawson and Hanson 1974) with one heavy row for the sum, on the QR factor, so that
    the cost of the fit does not grow with the number of bins.
    """
    q, r = known.factors
    weighted = np.vstack([r, np.full(len(known.names), SUM_WEIGHT)])
    weights, _ = nnls(weighted, np.append(q.T @ window.ravel(), SUM_WEIGHT))
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def mix(known: KnownDomains, weights: Doubles) -> Doubles:
    """The mixture's distribution, (d, BINS)."""
    return np.asarray(np.tensordot(weights, known.distributions, axes=1), dtype=np.float64)


def blend(known: KnownDomains, weights: Doubles) -> Floats:
    """Rows whose domains have these shares: evenly spaced ones of each, as many as its share allows."""
    size = min(len(rows) for rows in known.rows)
    parts = [
        rows[np.linspace(0, len(rows) - 1, round(share * size)).astype(int)]
        for rows, share in zip(known.rows, weights, strict=True)
    ]
    return np.concatenate(parts)


def effective_rows(known: KnownDomains, weights: Doubles) -> float:
    """Rows of a single sample that would be as precise as this mixture of samples (Kish 1965)."""
    sizes = np.array([len(rows) for rows in known.rows])
    return float(1.0 / (np.square(weights) / sizes).sum())
