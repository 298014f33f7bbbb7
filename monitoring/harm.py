"""Does the drift hurt? Accuracy estimated without labels, and tested with those that come back.

Without labels: CBPE (confidence-based performance estimation, as NannyML describes it: the mean of the calibrated
probability of being right) and ATC (average thresholded confidence, Garg et al. 2022, arXiv 2201.04234). Both trust
the model's own confidence. On unseen domains of real text both showed 30 to 70 % too little harm, and they cannot see
a change of the concept behind the same inputs at all. Where confidence is perfectly calibrated CBPE is right and ATC
overstates: a drop counts as estimated harm only beyond its noise (`kind.estimates_say_so`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from monitoring.histograms import Doubles, Floats
from trimtab.drift import Harm, LabelledRisk
from trimtab.stats.sequential import Bools, lower_bound, risk_increase, upper_bound

Integers = NDArray[np.int64]

MIN_LABELLED = 100  # reference rows
N_BINS = 20
SURE = 2.326  # standard normal quantile of the one-sided bounds here: 99 %
SURE_LEVEL = 0.99
NOTE = "estimates rest on the model's own confidence and understate harm: read the drop as at least this much"


@dataclass(frozen=True)
class ConfidenceModel:
    """What the labelled reference says about confidence; steps are those of an isotonic regression.

    Attributes:
        starts: Smallest max-probability of each step, ascending, (steps,).
        right: Share of right answers in each step, ascending, (steps,).
        shares: Share of the reference in each step, (steps,).
        n: Labelled reference rows, or their effective number when they are weighted.
        accuracy: Of the reference.
        max_entropy: ATC's threshold: as many reference rows have at most this entropy as are right.
    """

    starts: Doubles
    right: Doubles
    shares: Doubles
    n: float
    accuracy: float
    max_entropy: float


def fit_confidence(
    max_prob: Floats, entropy: Floats, right: Bools, weights: Doubles | None = None
) -> ConfidenceModel | None:
    """Calibrates confidence on (n,) labelled reference rows; None when fewer than 100 are effective.

    Isotonic regression of being right on the largest probability (Zadrozny and Elkan 2002), over at most 20 bins of
    equal weight: its outermost steps would otherwise be a few rows that happened to be wrong, or right.

    Args:
        weights: of the rows (a mixture of domains); None: equal.
    """
    given = np.ones(len(right)) if weights is None else weights
    effective = float(given.sum() ** 2 / np.square(given).sum()) if given.any() else 0.0
    if effective < MIN_LABELLED:
        return None
    starts, mass, hits = _bins(max_prob, given, given * right)
    fitted = isotonic_regression(hits / mass, weights=mass)
    first = fitted.blocks[:-1]
    shares = np.add.reduceat(mass, first) / mass.sum()
    accuracy = float(np.average(right, weights=given))
    return ConfidenceModel(
        starts[first],
        fitted.x[first],
        shares,
        effective,
        accuracy,
        _weighted_quantile(entropy, given, accuracy),
    )


def estimate_harm(model: ConfidenceModel, max_prob: Floats, entropy: Floats) -> Harm:
    """CBPE and ATC of an (m,) window against the reference; `drop_low` is a one-sided 99 % bound of CBPE's drop.

    The bound takes in both samples: the window's and the reference's own, and the error of each calibrated step, which
    counts as far as the window holds the step more or less often than the reference does.
    """
    step = np.clip(np.searchsorted(model.starts, max_prob, side="right") - 1, 0, None)
    calibrated = model.right[step]
    estimated = float(calibrated.mean())
    drop = model.accuracy - estimated
    return Harm(
        reference_accuracy=model.accuracy,
        estimated_accuracy=estimated,
        drop=drop,
        drop_low=drop - SURE * _standard_error(model, step),
        atc_accuracy=float((entropy <= model.max_entropy).mean()),
        n_reference=int(model.n),
        note=NOTE,
        n_events=len(max_prob),
    )


def labelled_risk(
    wrong: Bools | Sequence[bool],
    *,
    reference_wrong: float,
    reference_n: float,
    tolerance: float,
    run_length: float,
    newest: int = 500,
) -> LabelledRisk | None:
    """The sequential test on labelled traffic, oldest first; None without labels or without a labelled reference.

    `accuracy` and `drop_low` are of the newest labels only (at most `newest`). With an alarm the drop is at least the
    tolerance: that is what the alarm says.

    Raises:
        ValueError: the run length is not above 1.
    """
    if not len(wrong) or reference_n <= 0:
        return None
    found = risk_increase(
        wrong, source_wrong=reference_wrong, source_n=reference_n, tolerance=tolerance, run_length=run_length
    )
    last = np.asarray(wrong[-newest:], dtype=bool)
    n_wrong = int(last.sum())
    highest = upper_bound(reference_wrong, reference_n, SURE_LEVEL)
    drop_low = lower_bound(n_wrong, len(last), SURE_LEVEL) - highest
    return LabelledRisk(
        accuracy=1.0 - n_wrong / len(last),
        n=len(last),
        reference_accuracy=1.0 - reference_wrong / reference_n,
        statistic=found.statistic,
        threshold=found.threshold,
        alarm=found.alarm,
        drop_low=max(drop_low, tolerance) if found.alarm else drop_low,
    )


def _bins(values: Floats, mass: Doubles, hits: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Smallest value, mass and hits of each bin; equal values share a bin."""
    distinct, place = np.unique(values.astype(np.float64), return_inverse=True)
    at_value = np.bincount(place, weights=mass)
    below = np.cumsum(at_value) - at_value
    number = np.minimum((below / mass.sum() * N_BINS).astype(np.int64), N_BINS - 1)
    first = np.flatnonzero(np.diff(number, prepend=-1))
    return (
        distinct[first],
        np.add.reduceat(at_value, first),
        np.add.reduceat(np.bincount(place, weights=hits), first),
    )


def _standard_error(model: ConfidenceModel, step: Integers) -> float:
    """Of CBPE's drop (delta method): spread of both samples over the steps, and the steps' own sampling error."""
    shares = np.bincount(step, minlength=len(model.right)) / len(step)
    of_window = _variance(model.right, shares) / len(step)
    of_reference = _variance(model.right, model.shares) / model.n
    binomial = model.right * (1.0 - model.right) / (model.n * model.shares)
    return math.sqrt(of_window + of_reference + float(np.square(shares - model.shares) @ binomial))


def _variance(values: Doubles, shares: Doubles) -> float:
    return float(shares @ np.square(values - shares @ values))


def _weighted_quantile(values: Floats, weights: Doubles, share: float) -> float:
    """The smallest value such that at least this share of the weight is at or below it."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, share * reached[-1] * (1.0 - 1e-12)))
    return float(values[order[min(place, len(values) - 1)]])
