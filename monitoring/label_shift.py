"""Are only the classes' shares different? BBSE's estimate, and the test that it explains what is seen.

A covariate shift moves the predicted labels too, and BBSE then reports a label shift that is none. So the reference is
reweighted by the estimate, and the window compared with that: only when it is quiet is it a label shift.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitoring.histograms import (
    BINS,
    Bins,
    Doubles,
    Floats,
    bin_rows,
    count,
    distribution,
    energy,
    ks_binned,
)
from monitoring.labelled import LabelledReference
from trimtab.drift import LabelShiftFound
from trimtab.stats.label_shift import MIN_REFERENCE, LabelShift, estimate_label_shift, joint_confusion

Integers = NDArray[np.int64]


def find_label_shift(
    reference: LabelledReference,
    edges: Floats,
    rows: Floats,
    predicted: Integers,
    labels: Sequence[str],
    *,
    threshold: float,
    n_reference: float,
) -> LabelShiftFound | None:
    """What BBSE makes of an (m, d) window with its (m,) predicted labels.

    Args:
        threshold: of the KS energy of a window of m events, calibrated for a reference of `n_reference` rows. The
            reweighted reference is smaller in effect, so the threshold is raised by the sampling variance it adds.

    Returns:
        None when the labelled reference is too small, or its confusion matrix as good as singular.
    """
    if reference.n_effective < MIN_REFERENCE:
        return None
    answered = np.bincount(predicted[predicted >= 0], minlength=len(labels)) / max((predicted >= 0).sum(), 1)
    confusion = joint_confusion(reference.truth, reference.predicted, len(labels), reference.weights)
    found = estimate_label_shift(confusion, answered, reference.n_effective, len(rows))
    if found is None:
        return None
    residual = _residual(reference, found, edges, rows, n_reference) / threshold
    return LabelShiftFound(
        prior_before=dict(zip(labels, found.before.tolist(), strict=True)),
        prior_after=dict(zip(labels, found.after.tolist(), strict=True)),
        total_variation=found.total_variation,
        residual=residual,
        explains=found.total_variation > found.noise and residual <= 1.0,
    )


def _residual(
    reference: LabelledReference, found: LabelShift, edges: Floats, rows: Floats, n_reference: float
) -> float:
    """Energy against the reweighted reference, as it would be against one of `n_reference` rows."""
    weights = reference.weights * found.weights[reference.truth]
    effective = float(weights.sum() ** 2 / np.square(weights).sum())
    expected = weighted_distribution(bin_rows(edges, reference.rows), weights)
    left = energy(ks_binned(expected, distribution(count(bin_rows(edges, rows)))))
    return left * (1 / n_reference + 1 / len(rows)) / (1 / effective + 1 / len(rows))


def weighted_distribution(bins: Bins, weights: Doubles) -> Doubles:
    """Distribution function (d, BINS) of (n, d) bins whose rows have (n,) weights."""
    d = bins.shape[1]
    cells = (bins + BINS * np.arange(d)).ravel()
    mass = np.bincount(cells, weights=np.repeat(weights, d), minlength=d * BINS).reshape(d, BINS)
    return np.asarray(mass.cumsum(axis=1) / weights.sum(), dtype=np.float64)
