"""Does a drift hurt? Labels of the window against what the champion was accepted with, and whether its answers moved.

Labels judge only where they were drawn at random: those of the selection's and the gate's part of the split are, where
they were asked for. The window is held against the reference domain that its answers resemble most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from trimtab.adapter import REFERENCES
from trimtab.features import MAX_LABEL_FEATURES, Floats, References
from trimtab.stats.label_shift import MIN_REFERENCE, total_variation
from trimtab.stats.share import difference_bound
from workers.health import Health
from workers.material import Material
from workers.workshop import LoadedVersion

MIN_LABELS = 100
N_ASKED = 500  # texts of the window that are asked where no feature rows are kept
CONFIDENCE = "max_prob"


def health_of(
    champion: LoadedVersion, material: Material, rows: Floats | None, *, tolerance: float, alpha: float
) -> Health | None:
    """The champion's health on the window; None where labels or references are too few to tell.

    Args:
        rows: (n, d) feature rows of the window by the champion's feature map; None: texts of it are asked.
    """
    labelled = (*material.rows["selection"], *material.rows["gate"])
    references = References.from_bytes(champion.files[REFERENCES])
    if len(labelled) < MIN_LABELS or len(material.model.labels) > MAX_LABEL_FEATURES:
        return None
    found = _nearest(references, rows if rows is not None else _asked(champion, material, references))
    if found is None:
        return None
    like, shares_moved, confidence_moved = found
    probabilities = champion.answers.probabilities(
        [row.text for row in labelled], material.domain if material.named else None
    )
    right = probabilities.argmax(axis=1) == material.indices(row.label for row in labelled)
    surplus = probabilities.max(axis=1).astype(np.float64) - right
    known = _known(references, like)
    before = references.truth[like][known] == references.predicted[like][known]
    n, n_before = len(right), len(before)
    bound = difference_bound(int(before.sum()), n_before, int(right.sum()), n, level=1.0 - alpha)
    return Health(
        like=like, shares_moved=shares_moved, confidence_moved=confidence_moved, n=n, accuracy=float(right.mean()),
        n_reference=n_before, reference_accuracy=float(before.mean()), tolerance=tolerance, bound=bound,
        power=_power(float(before.mean()), n_before, n, tolerance, alpha), surplus=float(surplus.mean()),
        surplus_error=float(surplus.std(ddof=1) / math.sqrt(n)), alpha=alpha,
    )  # fmt: skip


def _nearest(references: References, rows: Floats) -> tuple[str, float, float] | None:
    """(domain, classes moved, confidence moved) of the labelled reference that the window's answers resemble most."""
    names = references.feature_map.names
    columns, at = _label_columns(references), names.index(CONFIDENCE)
    found = [
        (
            domain,
            total_variation(_shares(kept[:, columns]), _shares(rows[:, columns])),
            float(rows[:, at].mean() - kept[:, at].mean()),
        )
        for domain, kept in references.rows.items()
        if _known(references, domain).sum() >= MIN_REFERENCE and len(rows)
    ]
    return min(found, key=lambda each: max(each[1], abs(each[2])), default=None)


def _known(references: References, domain: str) -> npt.NDArray[np.bool_]:
    return np.asarray((references.truth[domain] >= 0) & (references.predicted[domain] >= 0))


def _label_columns(references: References) -> slice:
    """Where the log probabilities of the labels stand in a feature row."""
    first = len(references.feature_map.components)
    return slice(first, first + len(references.feature_map.labels))


def _shares(log_probabilities: Floats) -> npt.NDArray[np.float64]:
    """(k,) shares of the likeliest labels, before any remedy."""
    k = log_probabilities.shape[1]
    return np.bincount(log_probabilities.argmax(axis=1), minlength=k) / len(log_probabilities)


def _asked(champion: LoadedVersion, material: Material, references: References) -> Floats:
    """Feature rows of texts evenly over the window."""
    texts: Sequence[str] = [example.text for example in material.reference]
    some = texts[:: max(1, len(texts) // N_ASKED)]
    if not some:
        return np.empty((0, len(references.feature_map.names)), dtype=np.float32)
    return references.feature_map.rows(champion.answers.outputs(some), some)


def _power(accuracy: float, n_before: int, n: int, tolerance: float, alpha: float) -> float:
    """How often the bound is below the tolerance when the accuracy is as before (normal approximation)."""
    error = math.sqrt(max(accuracy * (1.0 - accuracy), 1e-9) * (1.0 / n_before + 1.0 / n))
    normal = NormalDist()
    return normal.cdf(tolerance / error - normal.inv_cdf(1.0 - alpha))
