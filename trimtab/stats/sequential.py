"""Does the model err more often than it did? A sequential test on labelled predictions, for as long as they come.

The question of Podkopaev and Ramdas (2022, arXiv 2110.06177): is the risk of the deployed model above the upper
confidence bound of its source risk plus a tolerance; benign shifts do not matter. Their confidence sequences are
replaced by a Shiryaev-Roberts e-detector (Shin, Ramdas, Rinaldo 2023, arXiv 2203.03532), which forgets the time before
a change and has its threshold by theorem.

With a loss x in {0, 1}, a bound b and a bet f in (0, 1), the factor 1 + f (x - b) / b has a mean of at most 1 as long
as the risk, given the past, is at most b. M_t = (M_{t-1} + 1) (1 + f (x_t - b) / b) then has E[M_T] <= E[T] at every
stopping time T, so the first T with M_T >= A has E[T] >= A. The mean over several bets is an e-detector again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

Doubles: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

# A bet f grows fastest when the risk is b + f (1 - b): from small rises to a model that is mostly wrong.
BETS = np.array([0.05, 0.1, 0.2, 0.4])
SOURCE_LEVEL = 0.975  # of the upper bound of the source risk
MAX_BOUND = 0.999


@dataclass(frozen=True)
class RiskIncrease:
    """Where the test stands after its last label.

    Attributes:
        bound: b, the risk that is still taken as no increase: upper bound of the source risk, plus the tolerance.
        statistic: log10 of M; -inf without labels.
        threshold: log10 of the run length.
        crossed_at: Index of the first label at which M reached the threshold; None when it never did.
        change_from: Index of the label from which on the evidence is strongest; 0 without labels.
    """

    bound: float
    statistic: float
    threshold: float
    crossed_at: int | None
    change_from: int

    @property
    def alarm(self) -> bool:
        """Whether the threshold is reached now."""
        return self.statistic >= self.threshold


def risk_increase(
    wrong: Bools | Sequence[bool],
    *,
    source_wrong: float,
    source_n: float,
    tolerance: float,
    run_length: float,
) -> RiskIncrease:
    """Tests the losses of labelled predictions against the source risk; needs no state but the losses.

    The promise is on average one false alarm in at least `run_length` labelled predictions, if the source risk is
    below its upper bound. It holds for labels in the order in which they became known; labels that are put in
    between later, as in an order by prediction, do no harm as long as a label's delay says nothing about the loss.

    Args:
        wrong: (n,) whether each labelled prediction was wrong, oldest first.
        source_wrong, source_n: wrong and all labelled reference rows (effective numbers when they are weighted).
        tolerance: increase of the risk that does not matter.
        run_length: labelled predictions between two false alarms.

    Raises:
        ValueError: there are no reference rows, or the run length is not above 1.
    """
    if source_n <= 0 or run_length <= 1:
        raise ValueError(
            "a risk is compared with at least one labelled reference row, over a run longer than 1"
        )
    bound = min(upper_bound(source_wrong, source_n, SOURCE_LEVEL) + tolerance, MAX_BOUND)
    losses = np.asarray(wrong, dtype=np.float64)
    threshold = math.log10(run_length)
    if not losses.size:
        return RiskIncrease(bound, -math.inf, threshold, None, 0)
    gains = np.cumsum(np.log1p(BETS[:, None] * (losses / bound - 1.0)), axis=1)
    path = _log10_mean(_shiryaev_roberts(gains))
    reached = np.flatnonzero(path >= threshold)
    crossed_at = int(reached[0]) if reached.size else None
    return RiskIncrease(bound, float(path[-1]), threshold, crossed_at, _best_start(gains))


def upper_bound(wrong: float, n: float, level: float) -> float:
    """Clopper and Pearson (1934): one-sided upper confidence bound of a share."""
    return 1.0 if wrong >= n else float(beta.ppf(level, wrong + 1.0, n - wrong))


def lower_bound(wrong: float, n: float, level: float) -> float:
    """Clopper and Pearson (1934): one-sided lower confidence bound of a share; 0 without observations."""
    return 0.0 if wrong <= 0 or n <= 0 else float(beta.ppf(1.0 - level, wrong, n - wrong + 1.0))


def _shiryaev_roberts(gains: Doubles) -> Doubles:
    """log M, (bets, n), of running log gains L: M_t = sum over s <= t of exp(L_t - L_{s-1})."""
    before = np.hstack([np.zeros((len(gains), 1)), gains[:, :-1]])
    return np.asarray(gains + np.logaddexp.accumulate(-before, axis=1), dtype=np.float64)


def _log10_mean(log_m: Doubles) -> Doubles:
    return np.asarray(
        (np.logaddexp.reduce(log_m, axis=0) - math.log(len(log_m))) / math.log(10), dtype=np.float64
    )


def _best_start(gains: Doubles) -> int:
    """The s whose product from s to the end is largest, under the bet for which it is."""
    before = np.hstack([np.zeros((len(gains), 1)), gains[:, :-1]])
    bet = int(np.argmax(gains[:, -1] - before.min(axis=1)))
    return int(np.argmin(before[bet]))
