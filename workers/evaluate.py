"""Scorecards: how well a version answers labelled texts, with the correctness of every single one kept for pairing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trimtab.bundle import ModelBundle
from trimtab.features import Floats, Outputs

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

    def __init__(self, bundle: ModelBundle, states: Answers | None = None) -> None:
        """states: answers of a bundle with the same encoder; then only the head is computed anew."""
        self.bundle = bundle
        self._states = states
        self._known: dict[str, Outputs] = {}

    def outputs(self, texts: Sequence[str], on_done: Callable[[int, int], None] | None = None) -> Outputs:
        """The bundle's outputs for at least one text, in their order; `on_done(done, of)` every 256 new ones."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for start in range(0, len(new), ASKED_TOGETHER):
            asked = new[start : start + ASKED_TOGETHER]
            found = self._ask(asked)
            self._known |= {text: _row(found, i) for i, text in enumerate(asked)}
            if on_done is not None:
                on_done(start + len(asked), len(new))
        return _joined([self._known[text] for text in texts])

    def scorecard(
        self, texts: Sequence[str], labels: npt.NDArray[np.int64], domain: str | None = None
    ) -> Scorecard:
        """Compares with (n,) true label indices what the API would answer to texts of that domain."""
        return scorecard(self.predicted(texts, domain), labels)

    def predicted(self, texts: Sequence[str], domain: str | None = None) -> npt.NDArray[np.int64]:
        """(n,) label indices that the API would answer: the likeliest class."""
        return np.asarray(self.probabilities(texts, domain).argmax(axis=1), dtype=np.int64)

    def probabilities(self, texts: Sequence[str], domain: str | None = None) -> Floats:
        """(n, k) probabilities that the API would answer: the remedy applied, with its shift for that domain."""
        if not texts:
            return np.empty((0, len(self.bundle.labels)), dtype=np.float32)
        return self.bundle.probabilities(self.outputs(texts).logits, [domain] * len(texts))

    def _ask(self, texts: Sequence[str]) -> Outputs:
        if self._states is None:
            return self.bundle.predict(texts)
        found = self._states.outputs(texts)
        weight, bias = self.bundle.head_weight.cpu().numpy(), self.bundle.head_bias.cpu().numpy()
        return replace(found, logits=np.asarray(found.pooled @ weight.T + bias, dtype=np.float32))


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
