"""What a trial goes by, counted from samples as replicas send them and labels as people give them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection, select

from tests.fixtures.ledgers import block, sample
from trimtab.ledger import feedback, label_requests, samples, trial_answers, trials
from trimtab.ledger.feedback import FeedbackItem
from trimtab.ledger.label_requests import NewRequest, Reason
from trimtab.ledger.schema import predictions
from trimtab.ledger.traffic import rate
from trimtab.ledger.trial_answers import Judged
from trimtab.samples import Sample
from trimtab.trial import Stage, Trial


@pytest.fixture
def trial(tx: Connection, model: str) -> Trial:
    """Of version 2, after two predictions."""
    ingest(tx, sample(1), shadowed(2, "neg"))
    return trials.start_trial(tx, model, 2, champion=1, job_id=None, reason="", actor="test")


def shadowed(number: int, label: str, version: int = 2, **changes: object) -> Sample:
    """Sample answered "pos" by version 1, and `label` unseen."""
    return sample(number, shadow=(version, label, 0.9), **changes)


def ingest(tx: Connection, *found: Sample) -> None:
    samples.ingest(tx, [block(f"b{found[0].prediction_id}", found)])


def label(tx: Connection, number: int, truth: str, observed_at: float = 1.0) -> None:
    item = FeedbackItem(prediction_id=f"p{number}", label=truth, annotator="a", observed_at=observed_at)
    feedback.record_feedback(tx, [item])


def test_unseen_answers_are_kept_and_counted_by_pairs(tx: Connection, trial: Trial) -> None:
    ingest(tx, shadowed(3, "pos"), shadowed(4, "neg"), shadowed(5, "neg"), sample(6))
    ingest(
        tx, shadowed(7, "neg", version=3), sample(8, version=2), sample(9, model="other", shadow=(2, "x", 1))
    )
    assert trial_answers.answer_pairs(tx, trial) == {("pos", "pos"): 1, ("pos", "neg"): 2}


def test_nothing_is_counted_before_anything_came(tx: Connection, trial: Trial) -> None:
    assert trial_answers.answer_pairs(tx, trial) == {}
    assert trial_answers.judged(tx, trial) == []
    assert trial_answers.n_answers(tx, trial) == 0


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_an_unseen_answer_without_a_probability_is_none(tx: Connection, trial: Trial, score: float) -> None:
    ingest(tx, sample(3, shadow=(2, "neg", score)))
    assert trial_answers.answer_pairs(tx, trial) == {}
    columns = (predictions.c.shadow_version, predictions.c.shadow_label, predictions.c.shadow_score)
    kept = tx.execute(select(*columns).where(predictions.c.prediction_id == "p3")).one()
    assert tuple(kept) == (None, None, None)


def test_answers_to_clients_are_counted_by_stage(tx: Connection, trial: Trial) -> None:
    ingest(tx, sample(3, version=2), sample(4), sample(5, version=2))
    assert trial_answers.n_answers(tx, trial) == 2
    next_stage = trials.advance(tx, trial, Stage.CANARY, 0.05, reason="", evidence={})
    ingest(tx, sample(6, version=2))
    assert trial_answers.n_answers(tx, next_stage) == 1


def test_labels_come_in_order_of_arrival_and_say_who_was_right(tx: Connection, trial: Trial) -> None:
    ingest(tx, shadowed(3, "neg"), sample(4), sample(5, version=2), sample(6, version=3))
    for number, truth in ((5, "pos"), (4, "neg"), (6, "pos"), (3, "neg"), (1, "pos")):
        label(tx, number, truth)
    by = {
        "own": Judged(by_challenger=True, right=True, shadow_right=None),
        "champion": Judged(by_challenger=False, right=False, shadow_right=None),
        "both": Judged(by_challenger=False, right=False, shadow_right=True),
    }
    found = trial_answers.judged(tx, trial)
    assert sorted(found, key=repr) == sorted(by.values(), key=repr)


def test_the_newest_of_several_labels_counts(tx: Connection, trial: Trial) -> None:
    ingest(tx, shadowed(3, "neg"))
    label(tx, 3, "pos", observed_at=1.0)
    item = FeedbackItem(prediction_id="p3", label="neg", annotator="b", observed_at=2.0)
    feedback.record_feedback(tx, [item])
    assert trial_answers.judged(tx, trial) == [Judged(by_challenger=False, right=False, shadow_right=True)]


def test_labels_that_were_asked_for_because_of_a_doubt_do_not_count(tx: Connection, trial: Trial) -> None:
    ingest(tx, shadowed(3, "neg"), shadowed(4, "neg"))
    last = samples.last_seq(tx)
    reasons = {last - 1: Reason.UNCERTAIN, last: Reason.RANDOM}
    asked = [NewRequest(seq=seq, key=f"k{seq}", part="train", reason=why) for seq, why in reasons.items()]
    label_requests.ask(tx, trial.model, "j", asked, expires_at=4e9)
    for number in (3, 4):
        label(tx, number, "pos")
    assert len(trial_answers.judged(tx, trial)) == 1


def test_traffic_is_counted_a_second(tx: Connection, model: str) -> None:
    far = 4e9  # later than now by any clock
    ingest(tx, *(sample(n, observed_at=far) for n in range(1, 31)))
    ingest(tx, *(sample(n) for n in range(31, 36)), replace(sample(36), model="other", observed_at=far))
    assert rate(tx, model, 60.0) == 0.5
    assert rate(tx, "nobody", 60.0) == 0.0
