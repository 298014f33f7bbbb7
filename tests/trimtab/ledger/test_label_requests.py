"""Label requests in the ledger: leases, answers, what ends them, what is forgotten."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Connection, func, select, update

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.errors import InvalidInput, LabelRequestNotFound, LabelRequestTaken
from trimtab.jobs import JobStatus
from trimtab.ledger import Ledger, clock, feedback, forget, jobs, label_requests, samples
from trimtab.ledger.feedback import FeedbackItem
from trimtab.ledger.label_requests import Labeller, NewRequest, Reason, RequestState, Standing
from trimtab.ledger.schema import feedback as feedback_table
from trimtab.ledger.schema import label_requests as table

ANN, BOB = Labeller("team", "ann"), Labeller("team", "bob")
N = 10
REASONS = (Reason.GATE, Reason.RANDOM, Reason.UNCERTAIN, Reason.RANDOM, Reason.CONFIDENT)


def asked(tx: Connection, n: int = N, *, expires_at: float = 4e9) -> str:
    """A job that waits, with n requests for samples p1 to p{n}; its id."""
    model = filled_model(tx)
    samples.ingest(tx, [block("b", (sample(number) for number in range(1, n + 1)))])
    job = jobs.open_job(
        tx, model, cause={}, domain="", window_from_seq=1,
        status=JobStatus.WAITING_FOR_LABELS, missing={"gate": 7, "train": 20, "train:neg": 30},
    )  # fmt: skip
    assert label_requests.ask(tx, model, job.id, new(n), expires_at=expires_at) == n
    return job.id


def new(n: int) -> list[NewRequest]:
    first = {"part": "train"}
    return [
        NewRequest(seq=seq, key=f"key {seq}", reason=REASONS[(seq - 1) % len(REASONS)], **first)
        for seq in range(1, n + 1)
    ]


def take(tx: Connection, who: Labeller, limit: int = 100, lease_s: float = 60.0) -> list[str]:
    found = label_requests.lease_requests(tx, "sentiment", who, limit=limit, lease_s=lease_s)
    return [request.id for request in found]


def said(tx: Connection) -> dict[str, str]:
    return {row.prediction_id: row.label for row in feedback.labelled(tx, "sentiment")}


class TestLeases:
    def test_what_one_person_holds_another_does_not_get(self, tx: Connection):
        asked(tx)
        ann, bob = take(tx, ANN, 4), take(tx, BOB, 4)
        assert (len(ann), len(bob), len(take(tx, Labeller("other")))) == (4, 4, 2)
        assert not set(ann) & set(bob)
        assert take(tx, ANN, 4) == ann

    def test_a_lease_ends_by_itself(self, tx: Connection):
        asked(tx)
        ann = take(tx, ANN, 4)
        tx.execute(update(table).where(table.c.leased_by == ANN.name).values(leased_until=clock.now(tx) - 1))
        assert set(ann) < set(take(tx, BOB))
        with pytest.raises(LabelRequestTaken, match="looking"):
            label_requests.answer(tx, ann[0], "pos", ANN)

    def test_a_look_holds_nothing(self, tx: Connection):
        asked(tx)
        assert take(tx, ANN, lease_s=0.0) == take(tx, BOB, lease_s=0.0)
        held = select(func.count()).where(table.c.leased_by.is_not(None))
        assert tx.execute(held).scalar_one() == 0

    def test_what_a_key_holds_is_for_everybody_who_has_it(self, tx: Connection):
        asked(tx)
        first, second = take(tx, Labeller("team"), 2)
        assert label_requests.answer(tx, first, "pos", ANN).settled_by == "team/ann"
        with pytest.raises(LabelRequestTaken):
            label_requests.answer(tx, second, "pos", Labeller("team2", "ann"))

    def test_reasons_come_mixed(self, tx: Connection):
        """Requests are given out by their random ids, not in the order in which they were chosen."""
        asked(tx, 200)
        found = label_requests.lease_requests(tx, "sentiment", ANN, limit=40, lease_s=0.0)
        assert {request.reason for request in found} == set(REASONS)
        assert [request.seq for request in found] != sorted(request.seq for request in found)

    def test_two_people_at_once_never_get_the_same(self, ledger: Ledger):
        with ledger.begin() as tx:
            asked(tx, 60)
        got: list[list[str]] = []

        def work(who: Labeller) -> None:
            for _ in range(5):
                with ledger.begin() as tx:
                    mine = take(tx, who, 3)
                    for each in mine:
                        label_requests.answer(tx, each, "pos", who)
                got.append(mine)

        threads = [threading.Thread(target=work, args=(Labeller("team", str(i)),)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids = [each for mine in got for each in mine]
        assert (len(ids), len(set(ids))) == (60, 60)


class TestAnswers:
    def test_an_answer_is_feedback_by_the_person_with_the_key_as_client(self, tx: Connection):
        asked(tx)
        (first,) = take(tx, ANN, 1)
        answered = label_requests.answer(tx, first, "neg", ANN)
        assert (answered.state, answered.settled_by, answered.leased_by) == ("answered", "team/ann", None)
        assert said(tx) == {answered.prediction_id: "neg"}
        row = tx.execute(select(feedback_table)).one()
        assert (row.annotator, row.client) == ("team/ann", "team")
        assert first not in take(tx, ANN)

    def test_second_thoughts_and_undoing(self, tx: Connection):
        asked(tx)
        (first,) = take(tx, ANN, 1)
        label_requests.answer(tx, first, "neg", ANN)
        changed = label_requests.answer(tx, first, "pos", ANN)
        assert said(tx) == {changed.prediction_id: "pos"}
        undone = label_requests.undo(tx, first, ANN, lease_s=60.0)
        assert (undone.state, undone.settled_by, undone.leased_by) == ("open", None, "team/ann")
        assert said(tx) == {}
        assert label_requests.skip(tx, first, ANN).state is RequestState.SKIPPED
        assert label_requests.undo(tx, first, ANN, lease_s=60.0).state is RequestState.OPEN

    def test_skipping_after_an_answer_takes_it_back(self, tx: Connection):
        asked(tx)
        (first,) = take(tx, ANN, 1)
        label_requests.answer(tx, first, "neg", ANN)
        label_requests.skip(tx, first, ANN)
        assert said(tx) == {}

    def test_what_somebody_else_settled_stays(self, tx: Connection):
        asked(tx)
        (first,) = take(tx, ANN, 1)
        label_requests.answer(tx, first, "neg", ANN)
        for act in (
            lambda: label_requests.answer(tx, first, "pos", BOB),
            lambda: label_requests.skip(tx, first, BOB),
            lambda: label_requests.undo(tx, first, BOB, lease_s=1.0),
        ):
            with pytest.raises(LabelRequestTaken, match="answered"):
                act()

    def test_an_unknown_label_changes_nothing(self, tx: Connection):
        asked(tx)
        (first,) = take(tx, ANN, 1)
        with pytest.raises(InvalidInput, match="use one of neg, pos"):
            label_requests.answer(tx, first, "neutral", ANN)
        assert label_requests.get_request(tx, first).state is RequestState.OPEN

    def test_an_unknown_request(self, tx: Connection):
        with pytest.raises(LabelRequestNotFound):
            label_requests.skip(tx, "none", ANN)

    def test_a_late_answer_counts(self, tx: Connection):
        job_id = asked(tx, expires_at=1.0)
        assert take(tx, ANN) == []
        (row,) = tx.execute(select(table.c.id).where(table.c.seq == 1)).scalars()
        label_requests.settle_open(tx)
        assert label_requests.get_request(tx, row).state is RequestState.EXPIRED
        assert label_requests.answer(tx, row, "pos", ANN).state is RequestState.ANSWERED
        assert label_requests.asked(tx, job_id)["key 1"] is RequestState.ANSWERED


class TestStanding:
    def test_without_a_job_nothing_stands(self, tx: Connection):
        filled_model(tx)
        assert label_requests.standing(tx, "sentiment") == Standing()

    def test_only_random_requests_say_how_good_the_model_is(self, tx: Connection):
        """All are predicted "pos": "pos" is right. Of ten, six were drawn at random; of those, two are wrong."""
        job_id = asked(tx)
        for request in label_requests.lease_requests(tx, "sentiment", ANN, limit=N, lease_s=0.0):
            wrong = request.reason in {Reason.GATE, Reason.CONFIDENT}
            label_requests.answer(tx, request.id, "neg" if wrong else "pos", ANN)
        assert label_requests.judgement(tx, "sentiment", job_id, 1) == (4, 6)
        assert label_requests.standing(tx, "sentiment") == Standing(
            answered=N, wanted=N + 27, right=4, judged=6
        )

    def test_progress_counts_what_is_open_where_more_is_open_than_missing(self, tx: Connection):
        job_id = asked(tx)
        jobs.update_missing(tx, job_id, {"gate": 2})
        assert label_requests.standing(tx, "sentiment") == Standing(open=N, wanted=N)

    def test_a_text_is_asked_for_once_a_job(self, tx: Connection):
        job_id = asked(tx)
        assert label_requests.ask(tx, "sentiment", job_id, new(N), expires_at=4e9) == 0

    def test_open_ones_by_part_and_reason(self, tx: Connection):
        job_id = asked(tx)
        assert label_requests.open_by_part(tx, job_id) == {"train": N}
        counted = label_requests.open_by_reason(tx)
        assert {reason: n for (_, reason), (n, _) in counted.items()} == {
            "gate": 2, "random": 4, "uncertain": 2, "confident": 2,
        }  # fmt: skip
        assert all(0 <= age_s < 3600 for _, age_s in counted.values())
        assert label_requests.jobs_that_ask(tx) == [job_id]


class TestEnds:
    def test_a_label_from_elsewhere_answers_and_the_end_of_the_job_closes(self, tx: Connection):
        job_id = asked(tx)
        known = FeedbackItem(prediction_id="p1", label="pos", client="batch")
        feedback.record_feedback(tx, [known])
        assert label_requests.settle_open(tx) == 1
        assert label_requests.settle_open(tx) == 0
        jobs.cancel(tx, job_id)
        assert label_requests.settle_open(tx) == N - 1
        states = label_requests.asked(tx, job_id)
        assert states.pop("key 1") is RequestState.ANSWERED
        assert set(states.values()) == {RequestState.CLOSED}

    def test_closing_frees_who_held_it(self, tx: Connection):
        job_id = asked(tx)
        (first, *_) = take(tx, ANN)
        assert label_requests.close(tx, job_id) == N
        assert label_requests.get_request(tx, first).leased_by is None

    def test_a_request_goes_with_its_prediction(self, tx: Connection):
        job_id = asked(tx)
        forget.forget(tx, prediction_id="p1")
        assert set(label_requests.asked(tx, job_id)) == {f"key {seq}" for seq in range(2, N + 1)}
        samples.expire(tx, 0.0)
        assert label_requests.asked(tx, job_id) == {}

    def test_a_text_that_is_kept_no_longer_is_not_found(self, tx: Connection):
        filled_model(tx)
        samples.ingest(tx, [block("b", [sample(1)])], keep_text=False)
        job = jobs.open_job(tx, "sentiment", cause={}, domain="", window_from_seq=1)
        label_requests.ask(tx, "sentiment", job.id, new(1), expires_at=4e9)
        assert take(tx, ANN) == []

    def test_forgetting_who_labelled(self, tx: Connection):
        """Also of people who shared the key; another key whose name begins alike stays."""
        asked(tx)
        alike = Labeller("team2")
        first, second, third = take(tx, ANN, 1)[0], take(tx, BOB, 1)[0], take(tx, alike, 1)[0]
        label_requests.answer(tx, first, "pos", ANN)
        label_requests.answer(tx, third, "pos", alike)
        assert label_requests.forget(tx, "team") == 1
        with pytest.raises(LabelRequestNotFound):
            label_requests.get_request(tx, first)
        assert label_requests.get_request(tx, second).leased_by is None
        assert label_requests.get_request(tx, third).settled_by == "team2"
