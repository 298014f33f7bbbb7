"""Estimates with intervals that assume no distribution: medians, paired ratios, slopes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, theilslopes


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; `coverage` is the probability that the interval holds the true value."""

    value: float
    low: float
    high: float
    coverage: float
    n: int

    def text(self, digits: int = 2) -> str:
        """As a report shows it: "2.31 [2.25, 2.40]"."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The median of n values with the narrowest pair of order statistics that covers it with this confidence.

    [x_(k), x_(n+1-k)] covers the median with probability 1 - 2 P(Binomial(n, 1/2) < k) (David & Nagaraja, Order
    Statistics, 3rd ed., section 7.1): n = 9 gives [x_(2), x_(8)] and 0.961. Below n = 6 no pair reaches 0.95: the
    range is given, with the coverage that it has. Raises ValueError without values.
    """
    if not values:
        raise ValueError("no values")
    ordered, n = sorted(values), len(values)
    rank = max([k for k in range(1, (n + 1) // 2 + 1) if _coverage(n, k) >= confidence], default=1)
    value = float(np.median(ordered))
    return Estimate(value, ordered[rank - 1], ordered[n - rank], _coverage(n, rank), n)


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], confidence: float = 0.95
) -> Estimate:
    """The median of ratios measured in the same round: what slows a whole round down cancels."""
    return median_interval(
        [a / b for a, b in zip(numerators, denominators, strict=True)], confidence=confidence
    )


def slope_interval(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The median of all pairwise slopes of y over x with its interval (Theil 1950, Sen 1968); not moved by outliers.

    Raises ValueError below three points.
    """
    if len(x) < 3:
        raise ValueError("a slope needs three points")
    fitted = theilslopes(y, x, confidence)
    return Estimate(
        float(fitted.slope), float(fitted.low_slope), float(fitted.high_slope), confidence, len(x)
    )


def paired_difference(only_first: int, only_second: int, n: int) -> Estimate:
    """The difference of two shares of n paired answers: only the first was right, only the second was.

    Agresti & Min's 95 % interval (Statistics in Medicine 24, 2005): Wald's with 0.5 added to each of the four cells.
    """
    if not 0 <= only_first + only_second <= n or n == 0:
        raise ValueError("more discordant pairs than pairs")
    b, c, total = only_first + 0.5, only_second + 0.5, n + 2.0
    centre = (b - c) / total
    half = 1.959964 * math.sqrt(b + c - (b - c) ** 2 / total) / total
    return Estimate((only_first - only_second) / n, centre - half, centre + half, 0.95, n)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; nan without values."""
    if not values:
        return math.nan
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def _coverage(n: int, rank: int) -> float:
    return float(1.0 - 2.0 * binom.cdf(rank - 1, n, 0.5))
