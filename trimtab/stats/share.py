"""Confidence interval of a share, such as an accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class ShareInterval:
    """An estimated share with its two-sided interval; `n` observations are behind it."""

    share: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2.0


def wilson(hits: int, n: int, level: float = 0.95) -> ShareInterval | None:
    """Wilson's (1927) score interval, eq. 4 of Brown, Cai and DasGupta (2001); None without observations."""
    if n <= 0:
        return None
    z, share = NormalDist().inv_cdf(0.5 + level / 2.0), hits / n
    centre = (hits + z * z / 2.0) / (n + z * z)
    half = z * math.sqrt(n) / (n + z * z) * math.sqrt(share * (1.0 - share) + z * z / (4.0 * n))
    return ShareInterval(share, max(0.0, centre - half), min(1.0, centre + half), n)


def difference_bound(hits: int, n: int, other_hits: int, other_n: int, level: float = 0.95) -> float:
    """One-sided upper bound of share - other share, of independent samples.

    Newcombe's hybrid of two Wilson intervals: R. G. Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10.
    Raises ValueError without observations.
    """
    one, other = (wilson(*pair, level=2.0 * level - 1.0) for pair in ((hits, n), (other_hits, other_n)))
    if one is None or other is None:
        raise ValueError("a difference of shares rests on observations of both")
    return one.share - other.share + math.hypot(one.high - one.share, other.share - other.low)
