"""Label shift: the classes come in other shares q(y) than before, p(y), while each class looks as it did.

Black box shift estimation (Lipton, Wang, Smola 2018, arXiv 1802.03916): then the shares of the predicted labels are
mu = C w with C_ij = p(predicted = i, truth = j) and w_j = q(j) / p(j), whatever the classifier's errors are. And
expectation maximisation (Saerens, Latinne, Decaestecker 2002, doi 10.1162/089976602753284446), which uses calibrated
probabilities instead of predicted labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Doubles: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

MIN_REFERENCE = 100  # labelled rows
MAX_CONDITION = 1e3  # of C: a classifier that tells two classes apart by less says nothing about their shares
NOISE_LEVEL = 0.99
N_NOISE = 2000
EM_STEPS = 1000
EM_PRECISION = 1e-8


@dataclass(frozen=True)
class LabelShift:
    """An estimate of the classes' shares after a shift; arrays are (k,).

    Attributes:
        before: p(y) of the labelled reference.
        after: Estimated q(y); sums to 1.
        weights: after / before; 0 for a class that the reference does not hold.
        total_variation: Half the sum of |after - before|, in [0, 1].
        noise: The total variation that sampling alone exceeds once in a hundred times.
        kept: Share of the raw estimate's distance that is left after shrinking towards no shift; near 1 where the
            confusion matrix is well conditioned and the samples are large.
    """

    before: Doubles
    after: Doubles
    weights: Doubles
    total_variation: float
    noise: float
    kept: float


def joint_confusion(
    truth: Integers, predicted: Integers, n_labels: int, weights: Doubles | None = None
) -> Doubles:
    """C, (k, k), C_ij = p(predicted = i, truth = j), sums to 1; of (n,) label indices and row weights (None: equal)."""
    cells = np.bincount(predicted * n_labels + truth, weights=weights, minlength=n_labels**2)
    return np.asarray(cells.reshape(n_labels, n_labels) / cells.sum(), dtype=np.float64)


def estimate_label_shift(
    confusion: Doubles, answered: Doubles, n_reference: float, n_window: int
) -> LabelShift | None:
    """BBSE from the joint confusion matrix and the (k,) shares of the predicted labels in a window.

    w = C^-1 mu over the classes that the reference holds, shrunk towards 1 by the positive-part rule of James and
    Stein (1961) with the covariance of w, then clipped at 0.

    Args:
        n_reference: labelled rows behind C, or their effective number when they are weighted.
        n_window: predictions behind `answered`.

    Returns:
        None when fewer than 100 reference rows are labelled, or C is as good as singular.
    """
    before = confusion.sum(axis=0)
    held = before > 0
    columns = confusion[:, held]
    if n_reference < MIN_REFERENCE or not _invertible(columns):
        return None
    inverse = np.asarray(np.linalg.pinv(columns), dtype=np.float64)
    raw = inverse @ answered
    spread = _covariance(inverse, columns, np.ones(held.sum()), confusion.sum(axis=1), n_reference, n_window)
    kept = _kept(raw - 1.0, _covariance(inverse, columns, raw, answered, n_reference, n_window))
    after = np.zeros_like(before)
    after[held] = before[held] * np.maximum(1.0 + kept * (raw - 1.0), 0.0)
    after /= after.sum()
    return LabelShift(
        before=before,
        after=after,
        weights=np.divide(after, before, out=np.zeros_like(after), where=held),
        total_variation=total_variation(before, after),
        noise=_noise(before[held], spread),
        kept=kept,
    )


def total_variation(p: Doubles, q: Doubles) -> float:
    """Half the sum of absolute differences, in [0, 1]."""
    return float(np.abs(p - q).sum() / 2)


def maximise_prior(probabilities: Doubles, before: Doubles) -> Doubles:
    """q(y), (k,), under which calibrated (n, k) probabilities p(y | x) of shifted inputs are most likely (EM).

    `before` is the (k,) prior under which the probabilities are calibrated; classes with a prior of 0 keep it.
    Saerens et al. 2002, equations 2.8 and 2.9: q(y | x) is p(y | x) q(y) / p(y), normalised; the next q(y) its mean.
    """
    ratio = np.divide(probabilities, before, out=np.zeros_like(probabilities), where=before > 0)
    after = before.copy()
    for _ in range(EM_STEPS):
        joint = ratio * after
        improved = np.asarray((joint / joint.sum(axis=1, keepdims=True)).mean(axis=0), dtype=np.float64)
        moved, after = total_variation(after, improved), improved
        if moved < EM_PRECISION:
            break
    return after


def _invertible(columns: Doubles) -> bool:
    """Whether the classes' columns, each scaled to p(predicted | truth), differ."""
    return bool(np.linalg.cond(columns / columns.sum(axis=0)) < MAX_CONDITION)


def _covariance(
    inverse: Doubles, columns: Doubles, weights: Doubles, answered: Doubles, n_reference: float, n_window: int
) -> Doubles:
    """Of w = C^-1 mu, (k, k), by the delta method: mu is the mean of a window's, C w of a reference's indicators."""
    explained = columns @ weights
    of_window = (np.diag(answered) - np.outer(answered, answered)) / n_window
    of_reference = (np.diag(columns @ weights**2) - np.outer(explained, explained)) / n_reference
    return np.asarray(inverse @ (of_window + of_reference) @ inverse.T, dtype=np.float64)


def _kept(moved: Doubles, covariance: Doubles) -> float:
    squared = float(moved @ moved)
    return max(0.0, 1.0 - float(np.trace(covariance)) / squared) if squared > 0 else 0.0


def _noise(before: Doubles, covariance: Doubles) -> float:
    """The quantile of the total variation when w is 1 but for its sampling error; the draws are always the same."""
    draws = np.random.default_rng(0).standard_normal((N_NOISE, len(before)))
    values, vectors = np.linalg.eigh(covariance)
    moved = before * (draws * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)
    return float(np.quantile(np.abs(moved).sum(axis=1) / 2, NOISE_LEVEL))
