"""Guards on a new version's answers: what it answers where the inputs are like those that it was accepted on.

Outputs follow from inputs. Where these moved the drift statistics decide; a version is stepped back from only for
answers that no input explains: not finite, all of one class, sure or unsure without reason.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from monitoring.check import Baseline
from monitoring.histograms import Doubles, bin_rows, count, distribution, ks_binned
from monitoring.mixture import effective_rows, mix, mixture_weights
from trimtab.ledger.windows import PredictionWindow

SIGMAS = 3.0  # at least; more where so many looks and classes ask for it
MOVED_CLASSES = (
    0.25  # total variation of the class shares: less may be a change of the classes that no input shows
)
MOVED_CONFIDENCE = 0.1  # of the mean largest probability
CALM = 1.95  # Kolmogorov-Smirnov quantile at p = 0.001: an input that moved more did move


def not_finite(baseline: Baseline, window: PredictionWindow) -> str:
    """Why the version is broken, when an answer of the window is not finite; else empty."""
    outputs = window.features[:, _outputs(baseline)]
    n = int((~np.isfinite(outputs).all(axis=1)).sum())
    return f"{n} of {len(window)} answers are not finite" if n else ""


def unexplained(baseline: Baseline, window: PredictionWindow, *, alpha: float, min_effect: float) -> str:
    """Why the version is broken, when its answers moved and its inputs did not; else empty.

    The window is held against the mixture of accepted domains that is nearest to it. Both guards look at means over
    independent rows: class shares and the largest probability, each against its standard error in window and reference.

    Args:
        baseline: Of the version.
        window: Its newest predictions.
        alpha: Probability of a false word of this look.
        min_effect: D up to which an input counts as unmoved, if that is more than noise.
    """
    known = baseline.known
    seen = distribution(count(bin_rows(known.edges, window.features)))
    weights = mixture_weights(known, seen)
    noise = math.sqrt(1.0 / len(window) + 1.0 / effective_rows(known, weights))
    moved = ks_binned(seen, mix(known, weights))[~_outputs(baseline)].max(initial=0.0)
    if moved > max(min_effect, CALM * noise):
        return ""
    sigmas = max(SIGMAS, float(norm.isf(alpha / (2 * (len(baseline.labels) + 1)))))
    return _classes(baseline, window, weights, sigmas * noise) or _confidence(
        baseline, window, weights, sigmas * noise
    )


def _classes(baseline: Baseline, window: PredictionWindow, weights: Doubles, reach: float) -> str:
    """`reach`: so many standard errors of a mean of unit variance."""
    labels, predicted = (
        baseline.labels,
        [baseline.references.predicted[each] for each in baseline.known.names],
    )
    before = sum(share * _shares(each, len(labels)) for share, each in zip(weights, predicted, strict=True))
    if not math.isclose(before.sum(), 1.0):
        return ""  # an older version's reference does not say what was answered
    place = {label: i for i, label in enumerate(labels)}
    after = _shares(np.array([place.get(label, -1) for label in window.labels]), len(labels))
    change = np.abs(after - before)
    if change.sum() / 2 <= MOVED_CLASSES or not (change > reach * np.sqrt(before * (1 - before))).any():
        return ""
    most = int(change.argmax())
    return (
        f"{after[most]:.0%} of the answers are {labels[most]!r}, {before[most]:.0%} were on inputs like these"
    )


def _confidence(baseline: Baseline, window: PredictionWindow, weights: Doubles, reach: float) -> str:
    column = baseline.features.index("max_prob")
    rows = [each[:, column].astype(np.float64) for each in baseline.known.rows]
    mean = float(sum(share * each.mean() for share, each in zip(weights, rows, strict=True)))
    square = float(sum(share * np.square(each).mean() for share, each in zip(weights, rows, strict=True)))
    after = float(window.features[:, column].mean())
    spread = math.sqrt(max(square - mean**2, 0.0))
    if abs(after - mean) <= max(MOVED_CONFIDENCE, reach * spread):
        return ""
    return f"the mean largest probability is {after:.2f}, it was {mean:.2f} on inputs like these"


def _outputs(baseline: Baseline) -> NDArray[np.bool_]:
    """(d,) which features are outputs."""
    return np.array(
        [name.startswith("log_p_") or name in {"max_prob", "entropy"} for name in baseline.features]
    )


def _shares(predicted: NDArray[np.int64], k: int) -> Doubles:
    """(k,) share of each class; answers of no known class count for none."""
    return np.bincount(predicted[predicted >= 0], minlength=k) / max(len(predicted), 1)
