"""Which classes a job teaches, and its labelled rows of them: the champion's, and new ones with enough examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import Connection

from trimtab.drift import DriftKind
from trimtab.jobs import PRIOR_BACK, REBASE
from trimtab.labels import FEWEST_PER_CLASS, Labelled, classes_with
from trimtab.ledger import models
from trimtab.ledger.examples import Example
from workers.plan import TEACHERS
from workers.poisoning import Cleaned, cleaned

R = TypeVar("R", Labelled, Example)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Labelled rows of the classes that a job knows or teaches.

    Attributes:
        labels: The champion's classes, then the new ones.
        rows: By part, as they came; train: those to learn from, without near-copies and surplus.
        waiting: Keys of the rows of other classes: they stay for a later job.
    """

    labels: tuple[str, ...]
    rows: Mapping[str, tuple[Labelled, ...]]
    train: Cleaned[Labelled]
    waiting: frozenset[str]


def lesson_of(
    tx: Connection,
    model: str,
    cause: Mapping[str, Any],
    taught: tuple[str, ...],
    rows: Mapping[str, Sequence[Labelled]],
    *,
    max_share: float,
    at_least: int,
) -> Lesson:
    """What a job of this cause does with these rows, where the champion knows the `taught` classes."""
    train = cleaned(rows["train"], max_share=max_share, at_least=at_least)
    declared = models.get_model(tx, model).labels
    labels = classes_of(cause, taught, declared, Counter(row.label for row in train.rows))
    return Lesson(
        labels=labels,
        rows={part: tuple(of_these(each, labels)) for part, each in rows.items()},
        train=replace(train, rows=tuple(of_these(train.rows, labels))),
        waiting=frozenset(row.key for each in rows.values() for row in each if row.label not in labels),
    )


def classes_of(
    cause: Mapping[str, Any], taught: tuple[str, ...], declared: Sequence[str], counts: Mapping[str, int]
) -> tuple[str, ...]:
    """The taught classes, and those of the declared ones that can be learnt beside them from so many labels.

    None is new to a job that was opened for something else: a prior, a base, a method that teaches nothing. None can be
    learnt from a window where a known class has too few labels to be held against it.
    """
    other = cause.get("kind") in {PRIOR_BACK, REBASE} or cause.get("drift") == DriftKind.LABEL_SHIFT
    few = any(counts.get(label, 0) < FEWEST_PER_CLASS for label in taught)
    elsewhere = "method" in cause and cause["method"] not in TEACHERS
    if other or few or elsewhere:
        return taught
    return classes_with(taught, declared, counts, FEWEST_PER_CLASS)


def of_these(found: Iterable[R], labels: Sequence[str]) -> list[R]:
    """Rows and examples without a label, or with one of these: the others' class is not taught yet, or not any more."""
    known: set[str | None] = {None, *labels}
    return [each for each in found if each.label in known]
