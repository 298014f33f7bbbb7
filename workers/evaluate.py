"""Scorecards: how well a version answers labelled texts, with the correctness of every single one kept for pairing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.bundle import ModelBundle
from trimtab.features import Outputs

Bools = npt.NDArray[np.bool_]
ASKED_TOGETHER = 256  # texts between two reports of progress


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


class Answers:
    """What one bundle answers, every text asked once: one text may be reference, gate example and exemplar."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.bundle = bundle
        self._known: dict[str, Outputs] = {}

    def outputs(self, texts: Sequence[str], on_done: Callable[[int, int], None] | None = None) -> Outputs:
        """The bundle's outputs for at least one text, in their order; `on_done(done, of)` every 256 new ones."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for start in range(0, len(new), ASKED_TOGETHER):
            asked = new[start : start + ASKED_TOGETHER]
            found = self.bundle.predict(asked)
            self._known |= {text: _row(found, i) for i, text in enumerate(asked)}
            if on_done is not None:
                on_done(start + len(asked), len(new))
        return _joined([self._known[text] for text in texts])

    def scorecard(self, texts: Sequence[str], labels: npt.NDArray[np.int64]) -> Scorecard:
        """Compares with (n,) true label indices what the API would answer."""
        return scorecard(self.predicted(texts), labels)

    def predicted(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """(n,) label indices that the API would answer: the remedy applied, the likeliest class."""
        if not texts:
            return np.empty(0, dtype=np.int64)
        probabilities = self.bundle.probabilities(self.outputs(texts).logits)
        return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def _row(outputs: Outputs, i: int) -> Outputs:
    one = slice(i, i + 1)
    return Outputs(outputs.pooled[one], outputs.logits[one], outputs.n_tokens[one], outputs.n_unknown[one])


def _joined(rows: Sequence[Outputs]) -> Outputs:
    return Outputs(
        pooled=np.concatenate([row.pooled for row in rows]),
        logits=np.concatenate([row.logits for row in rows]),
        n_tokens=np.concatenate([row.n_tokens for row in rows]),
        n_unknown=np.concatenate([row.n_unknown for row in rows]),
    )
