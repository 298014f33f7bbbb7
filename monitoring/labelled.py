"""The labelled rows of a version's references, weighted like a hypothesis: what the model is known to get right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.harm import ConfidenceModel, fit_confidence
from monitoring.histograms import Doubles, Floats
from monitoring.mixture import Hypothesis
from trimtab.features import References

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledReference:
    """Labelled rows of one domain or of a mixture.

    Attributes:
        rows: (n, d) feature rows.
        truth, predicted: (n,) label indices, none of them unknown.
        weights: (n,) of the rows, sum to 1; all of a domain's rows weigh the same.
    """

    rows: Floats
    truth: Integers
    predicted: Integers
    weights: Doubles

    @property
    def n_effective(self) -> float:
        """Rows of equal weight that would be as precise (Kish 1965); 0 without rows."""
        return float(1.0 / np.square(self.weights).sum()) if len(self.weights) else 0.0

    @property
    def n_wrong(self) -> float:
        """How many of the effective rows the model answers wrongly."""
        return self.n_effective * float(self.weights[self.truth != self.predicted].sum())


def labelled_reference(
    references: References, domains: Sequence[str], hypothesis: Hypothesis
) -> LabelledReference:
    """The labelled rows of the domains (in the order of the hypothesis' weights).

    A domain without labels cannot be spoken for: the others stand in for it, by their shares.
    """
    chosen = {
        domain: (references.truth[domain] >= 0) & (references.predicted[domain] >= 0) for domain in domains
    }
    weights = [
        np.full(chosen[domain].sum(), share / max(chosen[domain].sum(), 1))
        for domain, share in zip(domains, hypothesis.weights, strict=True)
    ]
    pooled = np.concatenate(weights)
    kept = pooled > 0
    return LabelledReference(
        rows=np.concatenate([references.rows[domain][chosen[domain]] for domain in domains])[kept],
        truth=np.concatenate([references.truth[domain][chosen[domain]] for domain in domains])[kept],
        predicted=np.concatenate([references.predicted[domain][chosen[domain]] for domain in domains])[kept],
        weights=pooled[kept] / pooled[kept].sum(),
    )


def confidence_of(reference: LabelledReference, names: Sequence[str]) -> ConfidenceModel | None:
    """What these rows say about confidence; `names` are those of the d features. None with fewer than 100 of them."""
    max_prob, entropy = (reference.rows[:, names.index(name)] for name in ("max_prob", "entropy"))
    return fit_confidence(max_prob, entropy, reference.truth == reference.predicted, reference.weights)
