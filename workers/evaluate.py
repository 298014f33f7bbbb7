"""Scorecards: how well a version answers labelled texts, with the correctness of every single one kept for pairing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.bundle import ModelBundle
from trimtab.features import Floats

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scorecard:
    """n labelled texts: accuracy, mean of the classes' recalls, and (n,) whether each answer was right."""

    n: int
    accuracy: float
    balanced_accuracy: float
    right: Bools

    def summary(self) -> dict[str, float]:
        """What a manifest or a report keeps."""
        return {"n": self.n, "accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy}


def scorecard(predicted: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Scorecard:
    """Compares (n,) predicted with (n,) true label indices. Balanced accuracy is over the classes that occur."""
    right = predicted == labels
    if not right.size:
        return Scorecard(0, float("nan"), float("nan"), right)
    recalls = [float(right[labels == label].mean()) for label in np.unique(labels)]
    return Scorecard(int(right.size), float(right.mean()), float(np.mean(recalls)), right)


def predicted_labels(bundle: ModelBundle, logits: Floats) -> npt.NDArray[np.int64]:
    """(n,) label indices that the API would answer: the remedy applied, the likeliest class."""
    indices: npt.NDArray[np.int64] = bundle.probabilities(logits).argmax(axis=1)
    return indices


def evaluate(bundle: ModelBundle, texts: Sequence[str], labels: npt.NDArray[np.int64]) -> Scorecard:
    """Scores the merged bundle, which is what would serve."""
    if not texts:
        return scorecard(np.empty(0, dtype=np.int64), labels)
    return scorecard(predicted_labels(bundle, bundle.predict(texts).logits), labels)
