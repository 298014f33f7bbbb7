"""Is a promise about the risk kept? A test that may be looked at after every label, for as long as they come.

With a loss x in {0, 1}, a bound b and a bet f in (0, 1), the factor 1 + f (x - b) / b has a mean of at most 1 as long
as the risk, given the past, is at most b. The product of the factors is then a supermartingale that starts at 1, and so
is the mean over several bets. By Ville's inequality (1939; such a process is an e-process in the words of Ramdas,
Grünwald, Vovk and Shafer 2023, arXiv 2210.01948) it ever reaches 1 / alpha with a probability of at most alpha. Unlike
the e-detector of `sequential`, which forgets the time before a change and has a run length, this is one test from the
first label on, with an error for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.stats.sequential import BETS, MAX_BOUND, SOURCE_LEVEL, Bools, upper_bound


@dataclass(frozen=True)
class PromiseTest:
    """Where the test stands.

    Attributes:
        bound: The risk that still counts as kept.
        statistic: log10 of the largest e-value so far, at least 0: the test may not be undone by what came later.
        threshold: log10(1 / alpha).
        crossed_at: Index of the first label at which the threshold was reached; None when it never was.
    """

    bound: float
    statistic: float
    threshold: float
    crossed_at: int | None

    @property
    def broken(self) -> bool:
        """Whether the risk is above the bound, with an error probability of at most alpha."""
        return self.crossed_at is not None


def promised_bound(wrong: float, n: float, tolerance: float) -> float:
    """The risk that n labelled rows with so many wrong answers allow: their upper bound and what does not matter.

    The upper bound is Clopper and Pearson's at 97.5 %. Raises ValueError without rows.
    """
    if n <= 0:
        raise ValueError("a promise rests on at least one labelled row")
    return min(upper_bound(wrong, n, SOURCE_LEVEL) + tolerance, MAX_BOUND)


def judge_drop(differences: Sequence[float], max_drop: float, alpha: float) -> PromiseTest:
    """Does a version err more than another by over `max_drop`? Looked at as often as one likes.

    A difference d in [-1, 1] of two losses becomes the loss (1 + d) / 2 of `judge_promise` with the bound
    (1 + max_drop) / 2: the factor is 1 + f (d - max_drop) / (1 + max_drop).

    Args:
        differences: (n,) loss of the one less loss of the other, in the order in which they became known: on the same
            row, or on a row of the one and the mean of rows of the other that are used once.
        max_drop: What does not matter, as a share.
        alpha: Probability of ever saying so where the mean difference, given the past, is at most `max_drop`.

    Raises:
        ValueError: alpha or max_drop is not between 0 and 1.
    """
    halves = (1.0 + np.asarray(differences, dtype=np.float64)) / 2.0
    return judge_promise(halves, (1.0 + max_drop) / 2.0, alpha)


def judge_promise(
    wrong: Bools | NDArray[np.float64] | Sequence[bool], bound: float, alpha: float
) -> PromiseTest:
    """Tests (n,) losses in the order in which they became known against a risk of at most `bound`.

    Losses are 0 or 1, or lie between: the factor's mean is the same. A risk above the bound is found the sooner the
    further above it is. Raises ValueError unless 0 < bound < 1 and 0 < alpha < 1.
    """
    if not (0.0 < bound < 1.0 and 0.0 < alpha < 1.0):
        raise ValueError("bound and alpha lie between 0 and 1")
    threshold = -math.log10(alpha)
    losses = np.asarray(wrong, dtype=np.float64)
    if not losses.size:
        return PromiseTest(bound, 0.0, threshold, None)
    gains = np.cumsum(np.log1p(BETS[:, None] * (losses / bound - 1.0)), axis=1)
    path = (np.logaddexp.reduce(gains, axis=0) - math.log(len(BETS))) / math.log(10)
    reached = np.flatnonzero(path >= threshold)
    return PromiseTest(
        bound, max(float(path.max()), 0.0), threshold, int(reached[0]) if reached.size else None
    )
