"""Which classes a job may teach, by why it was opened and by the labels that are left to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.fixtures.ledgers import filled_model
from trimtab.drift import DriftKind
from trimtab.jobs import PRIOR_BACK, REBASE
from trimtab.labels import FEWEST_PER_CLASS, Labelled
from trimtab.ledger import Ledger, models
from workers.teachable import Lesson, classes_of, lesson_of

TAUGHT = ("neg", "pos")
ENOUGH = {"neg": 50, "pos": 50, "typo": 0, "neutral": 9}
DECLARED = (*TAUGHT, "typo", "neutral")


@pytest.mark.parametrize(
    ("cause", "classes"),
    [
        ({"kind": "manual"}, (*TAUGHT, "neutral")),
        ({"kind": "manual", "method": "lora"}, (*TAUGHT, "neutral")),
        ({"kind": "manual", "method": "reference"}, TAUGHT),
        ({"kind": "drift", "drift": DriftKind.CONCEPT.value}, (*TAUGHT, "neutral")),
        ({"kind": "drift", "drift": DriftKind.LABEL_SHIFT.value}, TAUGHT),
        ({"kind": PRIOR_BACK, "method": "prior"}, TAUGHT),
        ({"kind": REBASE}, TAUGHT),
    ],
)
def test_a_job_of_another_purpose_teaches_no_class(cause: dict[str, Any], classes: tuple[str, ...]) -> None:
    assert classes_of(cause, TAUGHT, DECLARED, ENOUGH) == classes


def test_nothing_is_learnt_beside_a_known_class_that_has_no_labels() -> None:
    assert classes_of({}, TAUGHT, DECLARED, ENOUGH | {"neg": FEWEST_PER_CLASS - 1}) == TAUGHT
    assert classes_of({}, TAUGHT, DECLARED, ENOUGH | {"neutral": FEWEST_PER_CLASS - 1}) == TAUGHT


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Connection]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    with ledger.begin() as opened:
        yield opened
    ledger.close()


def rows(label: str, texts: list[str]) -> list[Labelled]:
    return [Labelled(text=text, label=label, key=f"{label}{i}") for i, text in enumerate(texts)]


def lesson(tx: Connection, neutral: list[str]) -> Lesson:
    filled_model(tx)
    models.declare_label(tx, "sentiment", "neutral")
    words = ["ant", "bee", "cow", "doe", "eel", "fox", "gnu", "hen", "ibis", "jay"]
    old = [row for label in TAUGHT for row in rows(label, [f"{label} {word}" for word in words])]
    parts = {
        "train": [*old, *rows("neutral", neutral)],
        "selection": rows("neutral", ["so so"]),
        "gate": rows("pos", ["fine"]),
    }
    return lesson_of(tx, "sentiment", {}, TAUGHT, parts, max_share=1.0, at_least=0)


def test_copies_of_a_few_texts_are_no_class(tx: Connection) -> None:
    """Near-copies are taken once, and only then it is counted."""
    found = lesson(tx, [f"{word} {i}" for word in ("meh", "well", "hm") for i in range(20)])
    assert found.labels == TAUGHT
    assert {row.label for row in found.train.rows} == set(TAUGHT)
    assert found.waiting == {f"neutral{i}" for i in range(60)}


def test_a_class_with_enough_texts_is_taught_and_nothing_waits(tx: Connection) -> None:
    found = lesson(tx, ["one", "two", "three", "four", "five", "six", "seven", "eight"])
    assert found.labels == (*TAUGHT, "neutral")
    assert sum(row.label == "neutral" for row in found.train.rows) == 8
    assert [row.label for row in found.rows["selection"]] == ["neutral"]
    assert found.waiting == frozenset()
