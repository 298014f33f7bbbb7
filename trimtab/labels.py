"""Which labels an adaptation has and lacks: the monitor asks while a job waits, the worker before it trains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Self

from sqlalchemy import Connection

from trimtab.drift import DriftKind
from trimtab.ledger import examples, feedback
from trimtab.ledger.feedback import LabelledRow
from trimtab.ledger.gate_history import outside, quarantined
from trimtab.ledger.given import given_rows
from trimtab.ledger.models import get_model
from trimtab.ledger.versions import served_model
from trimtab.settings import TrainingSettings
from trimtab.splits import key_of

HELD_OUT = ("gate", "selection", "reference")
PARTS = ("train", "selection", "gate")
# With fewer a classifier is as good as guessed (measured on frozen features: .577 with 2 of each class, .743 with 8).
FEWEST_PER_CLASS = 8


@dataclass(frozen=True)
class Labelled:
    """A distinct labelled text; `key` identifies the text itself, whatever group it belongs to."""

    text: str
    label: str
    key: str
    prediction_id: str | None = None
    client: str = ""


@dataclass(frozen=True, kw_only=True)
class LabelNeeds:
    """Labelled samples since the change that an adaptation needs.

    Attributes:
        train, selection, gate: Texts in each part of the split by hash.
        per_class: Texts of each class in the training part.
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

    @classmethod
    def of_job(cls, training: TrainingSettings, labels: Sequence[str], cause: Mapping[str, Any]) -> Self:
        """What a job of this cause waits for: only labels to judge by, where just the classes' shares changed."""
        needs = cls.of(training, labels)
        if cause.get("drift") != DriftKind.LABEL_SHIFT:
            return needs
        return replace(needs, train=0, per_class=0)


def classes_with(
    taught: Sequence[str], declared: Sequence[str], counts: Mapping[str, int], least: int
) -> tuple[str, ...]:
    """The taught classes, then those declared since that have so many labels at `least`."""
    new = (label for label in declared if label not in taught and counts.get(label, 0) >= least)
    return (*taught, *new)


def labels_missing(
    tx: Connection,
    model: str,
    from_seq: int,
    training: TrainingSettings,
    cause: Mapping[str, Any],
    gate: int = 0,
) -> dict[str, int]:
    """Labels that an adaptation with this window and cause lacks, by part; `gate`: at least so many to judge by.

    Of a class that was declared and not taught yet labels are asked for once one has come.
    """
    counts = usable_counts(tx, model, from_seq)
    classes = classes_with(served_model(tx, model).labels, get_model(tx, model).labels, counts["train"], 1)
    needs = LabelNeeds.of_job(training, classes, cause)
    of_these = {
        part: {label: n for label, n in by_label.items() if label in classes}
        for part, by_label in counts.items()
    }
    return missing_labels(of_these, replace(needs, gate=max(needs.gate, gate)))


def missing_labels(counts: Mapping[str, Mapping[str, int]], needs: LabelNeeds) -> dict[str, int]:
    """How many labels are missing by part, only what is missing; empty when all needs are met.

    Args:
        counts: Labelled texts by part and class (`usable_counts`).
        needs: What is needed.

    Returns:
        Counts by "train", "selection", "gate", and "train:CLASS" for classes that are rare in the training part.
    """
    parts = {"train": needs.train, "selection": needs.selection, "gate": needs.gate}
    lacking = {part: needed - sum(counts.get(part, {}).values()) for part, needed in parts.items()}
    in_training = counts.get("train", {})
    lacking |= {f"train:{label}": needs.per_class - in_training.get(label, 0) for label in needs.labels}
    return {part: n for part, n in lacking.items() if n > 0}


def usable_counts(tx: Connection, model: str, from_seq: int) -> dict[str, dict[str, int]]:
    """Labelled texts since a sample that an adaptation may use, by part and class: none of a quarantined window."""
    held_out = examples.keys(tx, model, HELD_OUT)
    remembered = examples.keys(tx, model, ("memory",))
    traffic = outside(feedback.labelled(tx, model, from_seq), quarantined(tx, model))
    rows = usable([*traffic, *given_rows(tx, model)], held_out, remembered)
    return {part: dict(Counter(row.label for row in each)) for part, each in rows.items()}


def usable(
    labelled: Sequence[LabelledRow], held_out: AbstractSet[str], remembered: AbstractSet[str]
) -> dict[str, tuple[Labelled, ...]]:
    """Distinct texts by part ("train", "selection", "gate"): none in two parts, none kept for another purpose.

    Of several labels for one text the newest counts; a text whose occurrences fall into different parts (once with
    and once without a group) is left out.

    Args:
        labelled: Rows in order of arrival.
        held_out: Keys of texts that must not be trained on.
        remembered: Keys of texts in memory, which must not be held out.
    """
    newest = {key_of(row.text): row for row in labelled if row.text is not None}
    parts: dict[str, set[str]] = {}
    for row in labelled:
        if row.text is not None:
            parts.setdefault(key_of(row.text), set()).add(row.part)
    taken = {part: held_out if part == "train" else held_out | remembered for part in PARTS}
    return {
        part: tuple(
            Labelled(row.text or "", row.label, key, row.prediction_id, row.client)
            for key, row in newest.items()
            if parts[key] == {part} and key not in used
        )
        for part, used in taken.items()
    }
