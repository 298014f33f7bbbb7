"""Tango's score test for paired proportions: is the candidate at most `margin` worse than the incumbent?

Both answer the same n examples. `lost` counts what the incumbent had right and the candidate wrong, `gained`
the reverse; the loss is (lost - gained) / n. The test passes only when the data exclude a loss of `margin`.

Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
paired-sample design", Statistics in Medicine 17 (1998) 891-908.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, norm

_EDGE = 1e-12  # the difference of two proportions lies strictly between -1 and 1
_NEGLIGIBLE = 1e-10  # probability mass left out on each side when a power is summed

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Passes = Callable[[Floats, Floats], Bools]


@dataclass(frozen=True)
class PairedCounts:
    """How two versions answered the same n labelled examples; not integers where the examples are weighted."""

    n: float
    lost: float  # incumbent right, candidate wrong
    gained: float  # incumbent wrong, candidate right

    def __post_init__(self) -> None:
        if (
            self.n < 1
            or self.lost < 0
            or self.gained < 0
            or self.lost + self.gained > self.n + _EDGE * self.n
        ):
            raise ValueError(f"impossible paired counts: {self}")

    @property
    def loss(self) -> float:
        """Accuracy lost, as a share of 1 (negative: gained)."""
        return (self.lost - self.gained) / self.n

    @property
    def discordance(self) -> float:
        """Share of the examples on which exactly one of the two is right."""
        return (self.lost + self.gained) / self.n


@dataclass(frozen=True)
class NonInferiority:
    """Result of the test of H0: loss >= margin against H1: loss < margin."""

    z: float
    p_value: float
    bound: float  # upper confidence bound of the loss at one-sided level alpha
    passed: bool


def paired_counts(incumbent_right: Bools, candidate_right: Bools) -> PairedCounts:
    """Counts from two vectors of correctness (n,) over the same examples."""
    if incumbent_right.shape != candidate_right.shape:
        raise ValueError(f"not paired: {incumbent_right.shape} and {candidate_right.shape}")
    lost = int(np.sum(incumbent_right & ~candidate_right))
    gained = int(np.sum(~incumbent_right & candidate_right))
    return PairedCounts(n=int(incumbent_right.size), lost=lost, gained=gained)


def weighted_counts(incumbent_right: Bools, candidate_right: Bools, weights: Floats) -> PairedCounts:
    """The table of fewer, equal examples that says as much as the (n,) weighted ones: shares by weight.

    Its n is that at which the loss of equal examples has the variance of the weighted loss, and at most Kish's
    (sum w)^2 / sum w^2. Source: E. L. Korn, B. I. Graubard, "Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data", Survey Methodology 24 (1998) 193-201, for one share.

    Raises:
        ValueError: the vectors differ in length, or a weight is negative or none is positive.
    """
    if weights.shape != incumbent_right.shape or not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError("every example needs a weight of at least 0, and one of them more")
    paired_counts(incumbent_right, candidate_right)
    share = weights / weights.sum()
    change = incumbent_right.astype(np.float64) - candidate_right
    lost, gained = float(share[change > 0].sum()), float(share[change < 0].sum())
    variance = float((share**2 * (change - (lost - gained)) ** 2).sum())
    n = 1.0 / float((share**2).sum())
    if variance > 0.0:
        n = min(n, (lost + gained - (lost - gained) ** 2) / variance)
    return PairedCounts(max(n, 1.0), max(n, 1.0) * lost, max(n, 1.0) * gained)


def constrained_gain(lost: Floats, gained: Floats, n: float, margin: float) -> Floats:
    """Likeliest share of `gained` when the loss is held at `margin`: the larger root of Tango's quadratic."""
    a = 2.0 * n
    b = -(lost + gained) + (2.0 * n - lost + gained) * margin
    c = -gained * margin * (1.0 - margin)
    root: Floats = (np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0)) - b) / (2.0 * a)
    return root


def score(lost: Floats, gained: Floats, n: float, margin: float) -> Floats:
    """Z of the score test, elementwise; very negative speaks for a loss below `margin`. 0: nothing known."""
    q = constrained_gain(lost, gained, n, margin)
    variance = n * (2.0 * q + margin * (1.0 - margin))
    known = variance > _EDGE
    distance = lost - gained - n * margin
    z: Floats = np.where(known, distance / np.sqrt(np.where(known, variance, 1.0)), 0.0)
    return z


def score_z(counts: PairedCounts, margin: float) -> float:
    """Z of one table; the margin is a difference of proportions in (-1, 1)."""
    return float(score(np.float64(counts.lost), np.float64(counts.gained), counts.n, margin))  # type: ignore[arg-type]


def loss_bound(counts: PairedCounts, alpha: float) -> float:
    """Upper confidence bound of the loss at one-sided level alpha: the margin at which Z = -z_alpha."""
    critical = float(norm.isf(alpha))
    if score_z(counts, 1.0 - _EDGE) > -critical:
        return 1.0
    low = max(counts.loss, -1.0 + _EDGE)
    return float(brentq(lambda margin: score_z(counts, margin) + critical, low, 1.0 - _EDGE, xtol=1e-12))


def non_inferiority(counts: PairedCounts, margin: float, alpha: float) -> NonInferiority:
    """Test H0: loss >= margin. Passes exactly when the bound lies below the margin."""
    z = score_z(counts, margin)
    return NonInferiority(
        z=z,
        p_value=float(norm.cdf(z)),
        bound=loss_bound(counts, alpha),
        passed=z < -float(norm.isf(alpha)),
    )


def power(n: int, discordance: float, margin: float, alpha: float, true_loss: float = 0.0) -> float:
    """Probability that the test passes, summed exactly over the possible tables (up to 1e-9 of the mass).

    Args:
        n: examples.
        discordance: true share of examples on which exactly one version is right.
        margin: difference of proportions to be excluded.
        alpha: one-sided level.
        true_loss: true loss of accuracy, |true_loss| <= discordance.
    """
    p_lost, p_gained = (discordance + true_loss) / 2.0, (discordance - true_loss) / 2.0
    if min(p_lost, p_gained) < 0.0 or discordance > 1.0:
        raise ValueError(f"a loss of {true_loss} cannot happen at discordance {discordance}")
    critical = float(norm.isf(alpha))
    return sum_over_tables(n, p_lost, p_gained, lambda b, c: score(b, c, n, margin) < -critical)


def sum_over_tables(n: int, p_lost: float, p_gained: float, passes: Passes) -> float:
    """Mass of the tables for which `passes(lost, gained)`: lost ~ Bin(n, p_lost), then gained given lost."""
    lost = _likely_counts(n, p_lost)[:, None]
    share = min(p_gained / (1.0 - p_lost), 1.0) if p_lost < 1.0 else 0.0
    gained = np.union1d(
        _likely_counts(n - int(lost.min()), share), _likely_counts(n - int(lost.max()), share)
    )
    gained = np.arange(gained.min(), gained.max() + 1)[None, :]
    mass = binom.pmf(lost, n, p_lost) * binom.pmf(gained, n - lost, share)
    return float(np.sum(mass * passes(lost.astype(np.float64), gained.astype(np.float64))))


def _likely_counts(n: int, p: float) -> NDArray[np.int64]:
    """The counts of Bin(n, p) but for a negligible mass at both ends."""
    low, high = binom.ppf(_NEGLIGIBLE, n, p), binom.isf(_NEGLIGIBLE, n, p)
    return np.arange(max(int(low), 0), min(int(high), n) + 1)
