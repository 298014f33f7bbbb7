"""Which labels an adaptation still lacks: the monitor asks while a job waits, the worker before it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from trimtab.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class LabelNeeds:
    """Labelled samples since the change that an adaptation needs.

    Attributes:
        train, selection, gate: Samples in each part of the split by hash.
        per_class: Samples of each class in the training part.
        labels: Names of the classes.
    """

    train: int
    selection: int
    gate: int
    per_class: int
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, training: TrainingSettings, labels: Sequence[str]) -> Self:
        """The needs that the settings state, for a model with these classes."""
        return cls(
            train=training.min_train_labels,
            selection=training.min_selection_labels,
            gate=training.min_gate_labels,
            per_class=training.min_labels_per_class,
            labels=tuple(labels),
        )


def missing_labels(counts: Mapping[str, Mapping[str, int]], needs: LabelNeeds) -> dict[str, int]:
    """How many labels are missing by part, only what is missing; empty when all needs are met.

    Args:
        counts: Labelled samples by part and class (`trimtab.ledger.feedback.label_counts`).
        needs: What is needed.

    Returns:
        Counts by "train", "selection", "gate", and "train:CLASS" for classes that are rare in the training part.
    """
    parts = {"train": needs.train, "selection": needs.selection, "gate": needs.gate}
    lacking = {part: needed - sum(counts.get(part, {}).values()) for part, needed in parts.items()}
    in_training = counts.get("train", {})
    lacking |= {f"train:{label}": needs.per_class - in_training.get(label, 0) for label in needs.labels}
    return {part: n for part, n in lacking.items() if n > 0}
