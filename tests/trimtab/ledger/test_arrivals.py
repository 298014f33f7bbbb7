from __future__ import annotations

import pytest
from sqlalchemy import Connection, update

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.ledger import feedback, label_requests, models, samples
from trimtab.ledger.arrivals import arrived
from trimtab.ledger.feedback import FeedbackItem
from trimtab.ledger.label_requests import NewRequest, Reason
from trimtab.ledger.schema import feedback as table

MODEL = "sentiment"
CLASSES = ("neg", "pos")


@pytest.fixture(autouse=True)
def _traffic(tx: Connection) -> None:
    """p1 to p19 of version 2 but p7 of version 1, all answered "pos"."""
    filled_model(tx)
    sent = [sample(n, version=1 if n == 7 else 2) for n in range(1, 20)]
    samples.ingest(tx, [block("b", sent)])


def label(tx: Connection, at: float, *numbers: int, right: bool = True, annotator: str = "") -> None:
    """Labels that are given, and become known, at this time."""
    word = "pos" if right else "neg"
    items = [
        FeedbackItem(prediction_id=f"p{n}", label=word, annotator=annotator, observed_at=at) for n in numbers
    ]
    feedback.record_feedback(tx, items)
    tx.execute(update(table).where(table.c.observed_at == at).values(received_at=at))


def seen(tx: Connection) -> list[tuple[int, bool]]:
    return [(each.seq, each.right) for each in arrived(tx, MODEL, 2, CLASSES)]


def test_labels_come_in_the_order_in_which_they_became_known(tx: Connection):
    label(tx, 10.0, 3, 7)
    label(tx, 20.0, 2, 1, right=False)
    label(tx, 30.0, 5)
    assert seen(tx) == [(3, True), (1, False), (2, False), (5, True)]
    assert arrived(tx, MODEL, 3, CLASSES) == []


def test_a_correction_counts_once_and_when_it_came(tx: Connection):
    label(tx, 10.0, 1, 2)
    label(tx, 20.0, 1, right=False)
    assert seen(tx) == [(2, True), (1, False)]


def test_a_class_that_the_version_does_not_know_was_never_promised(tx: Connection):
    """The newest label counts: a right answer that is corrected to the new class is no right answer any more."""
    models.declare_label(tx, MODEL, "neutral")
    label(tx, 10.0, 1, 2)
    items = [FeedbackItem(prediction_id=f"p{n}", label="neutral", observed_at=20.0) for n in (2, 3)]
    feedback.record_feedback(tx, items)
    assert seen(tx) == [(1, True)]
    assert {each.seq for each in arrived(tx, MODEL, 2, (*CLASSES, "neutral"))} == {1, 2, 3}


def test_of_several_annotators_the_newest_counts(tx: Connection):
    label(tx, 10.0, 1, annotator="ann")
    label(tx, 20.0, 1, right=False, annotator="ben")
    assert seen(tx) == [(1, False)]


def test_answers_to_requests_that_were_not_drawn_at_random_are_left_out(tx: Connection):
    reasons = dict(enumerate(Reason, start=8))
    asked = [NewRequest(seq=n, key=f"k{n}", part="train", reason=reason) for n, reason in reasons.items()]
    label_requests.ask(tx, MODEL, "j", asked, expires_at=4e9)
    label(tx, 10.0, 1, *reasons)
    at_random = {n for n, reason in reasons.items() if reason in label_requests.AT_RANDOM}
    assert {seq for seq, _ in seen(tx)} == at_random | {1}
