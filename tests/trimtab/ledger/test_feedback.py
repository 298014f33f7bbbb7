from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.jobs import Extent
from trimtab.ledger import Ledger, clock, feedback, models, samples
from trimtab.ledger.feedback import FeedbackItem, FeedbackOutcome
from trimtab.ledger.schema import feedback as table

MODEL = "sentiment"


def ingest(tx: Connection, *numbers: int, **changes: object) -> None:
    samples.ingest(tx, [block(f"{numbers} {changes}", [sample(number, **changes) for number in numbers])])


def say(
    number: int, label: str, annotator: str = "", observed_at: float | None = None, client: str = ""
) -> FeedbackItem:
    return FeedbackItem(
        prediction_id=f"p{number}", label=label, annotator=annotator, observed_at=observed_at, client=client
    )


def labels(tx: Connection) -> dict[str, str]:
    return {row.prediction_id: row.label for row in feedback.labelled(tx, MODEL)}


def rows(tx: Connection) -> list[tuple[object, ...]]:
    columns = (table.c.prediction_id, table.c.annotator, table.c.label, table.c.observed_at, table.c.seq)
    return sorted(tuple(row) for row in tx.execute(select(*columns)))


@pytest.fixture(autouse=True)
def _model(request: pytest.FixtureRequest) -> None:
    if "tx" in request.fixturenames:
        filled_model(request.getfixturevalue("tx"), MODEL)


class TestJoin:
    def test_a_label_that_comes_after_its_prediction(self, tx: Connection):
        ingest(tx, 1, domain="tweets", group="g", client="ada")
        assert feedback.record_feedback(tx, [say(1, "neg", "bob")]) == FeedbackOutcome(accepted=1, joined=1)
        (row,) = feedback.labelled(tx, MODEL)
        prediction = samples.get_prediction(tx, "p1")
        assert prediction is not None
        assert (row.label, row.predicted, row.version, row.client) == ("neg", "pos", 1, "ada")
        assert (row.seq, row.prediction_id, row.text) == (1, "p1", "text number 1")
        assert (row.key, row.part, row.domain, row.group) == (prediction.key, prediction.part, "tweets", "g")

    def test_a_label_that_comes_before_its_prediction(self, tx: Connection):
        assert feedback.record_feedback(tx, [say(1, "neg")]) == FeedbackOutcome(accepted=1, pending=1)
        assert labels(tx) == {}
        ingest(tx, 1)
        assert labels(tx) == {"p1": "neg"}
        assert feedback.record_feedback(tx, [say(1, "neg")]) == FeedbackOutcome(duplicates=1)

    def test_nothing_is_nothing(self, tx: Connection):
        assert feedback.record_feedback(tx, []) == FeedbackOutcome()

    def test_items_are_counted_once_each(self, tx: Connection):
        ingest(tx, 1)
        items = [say(1, "neg"), say(1, "neg"), say(2, "pos"), say(1, "nonsense"), say(2, "pos")]
        outcome = feedback.record_feedback(tx, items)
        assert (outcome.accepted, outcome.joined, outcome.pending, outcome.duplicates) == (2, 1, 1, 2)
        assert [index for index, _ in outcome.rejected] == [3]

    def test_the_client_that_labelled_is_kept(self, tx: Connection):
        feedback.record_feedback(tx, [say(1, "neg", client="ada")])
        assert tx.execute(select(table.c.client)).scalar_one() == "ada"


class TestUnknownLabel:
    def test_rejected_at_once_when_the_prediction_is_known(self, tx: Connection):
        ingest(tx, 1)
        outcome = feedback.record_feedback(tx, [say(1, "neutral"), say(1, "neg")])
        ((index, why),) = outcome.rejected
        assert (index, why.partition(";")[0]) == (0, "unknown label 'neutral': use one of neg, pos")
        assert "trimtab labels add" in why
        assert labels(tx) == {"p1": "neg"}

    def test_taken_once_it_is_declared(self, tx: Connection):
        ingest(tx, 1)
        models.declare_label(tx, "sentiment", "neutral")
        assert feedback.record_feedback(tx, [say(1, "neutral")]).joined == 1
        assert labels(tx) == {"p1": "neutral"}

    def test_dropped_when_the_prediction_arrives(self, tx: Connection):
        feedback.record_feedback(tx, [say(1, "neutral", "a"), say(1, "neg", "b")])
        ingest(tx, 1)
        assert [row[1:3] for row in rows(tx)] == [("b", "neg")]
        assert labels(tx) == {"p1": "neg"}

    def test_any_label_is_taken_for_a_model_that_the_ledger_does_not_know(self, tx: Connection):
        ingest(tx, 1, model="removed")
        assert feedback.record_feedback(tx, [say(1, "whatever")]).joined == 1


class TestSeveralLabels:
    def test_the_last_observation_of_an_annotator_wins(self, tx: Connection):
        ingest(tx, 1)
        feedback.record_feedback(tx, [say(1, "neg", observed_at=20.0)])
        late = feedback.record_feedback(tx, [say(1, "pos", observed_at=10.0)])
        assert (late, labels(tx)) == (FeedbackOutcome(duplicates=1), {"p1": "neg"})
        newer = feedback.record_feedback(tx, [say(1, "pos", observed_at=30.0)])
        assert (newer, labels(tx)) == (FeedbackOutcome(accepted=1, joined=1), {"p1": "pos"})

    def test_saying_it_again_later_counts_as_said_later(self, tx: Connection):
        ingest(tx, 1)
        items = [
            say(1, "neg", observed_at=10.0),
            say(1, "neg", observed_at=30.0),
            say(1, "pos", observed_at=20.0),
        ]
        assert feedback.record_feedback(tx, items).duplicates == 2
        assert labels(tx) == {"p1": "neg"}

    def test_without_times_the_later_item_wins(self, tx: Connection):
        ingest(tx, 1)
        feedback.record_feedback(tx, [say(1, "pos"), say(1, "neg")])
        assert labels(tx) == {"p1": "neg"}

    def test_the_newest_of_several_annotators_wins(self, tx: Connection):
        ingest(tx, 1)
        items = [say(1, "neg", "a", 30.0), say(1, "pos", "b", 10.0), say(1, "pos", "c", 20.0)]
        assert feedback.record_feedback(tx, items).joined == 3
        assert labels(tx) == {"p1": "neg"}
        assert [row.label for row in feedback.labelled(tx, MODEL)] == ["neg"]


def seen(tx: Connection, version: int, last_n: int, after_seq: int = 0) -> list[tuple[int, bool]]:
    return [(each.seq, each.right) for each in feedback.outcomes(tx, MODEL, version, last_n, after_seq)]


class TestCounts:
    def test_up_to_what_was_there_at_a_moment(self, tx: Connection):
        """Later predictions, later labels and corrections are left out; the same label again is no news."""
        ingest(tx, 1, 2, 3, 4)
        feedback.record_feedback(tx, [say(number, "neg") for number in (1, 2, 3)])
        tx.execute(update(table).values(received_at=table.c.received_at - 60.0))
        extent = feedback.extent_now(tx, MODEL, 1)
        before = feedback.labelled(tx, MODEL, 1, extent)
        assert [row.prediction_id for row in before] == ["p1", "p2", "p3"]
        ingest(tx, 9)
        feedback.record_feedback(tx, [say(4, "pos"), say(9, "pos"), say(1, "neg"), say(2, "pos", "another")])
        assert feedback.labelled(tx, MODEL, 1, extent) == before
        assert labels(tx) == {"p1": "neg", "p2": "pos", "p3": "neg", "p4": "pos", "p9": "pos"}
        feedback.record_feedback(tx, [say(3, "pos")])
        assert feedback.labelled(tx, MODEL, 1, extent) == before[:2]

    def test_a_label_that_came_before_is_in_no_extent_before_its_prediction(self, tx: Connection):
        feedback.record_feedback(tx, [say(2, "neg")])
        ingest(tx, 1)
        feedback.record_feedback(tx, [say(1, "neg")])
        extent = feedback.extent_now(tx, MODEL, 1)
        ingest(tx, 2)
        assert [row.prediction_id for row in feedback.labelled(tx, MODEL, 1, extent)] == ["p1"]

    def test_where_nothing_was_there_nothing_is_read(self, tx: Connection):
        extent = feedback.extent_now(tx, MODEL, 1)
        assert extent == Extent(until_seq=0, labels_until=0.0)
        ingest(tx, 1)
        feedback.record_feedback(tx, [say(1, "neg")])
        assert feedback.labelled(tx, MODEL, 0, extent) == []

    def test_from_a_sequence_number_on(self, tx: Connection):
        ingest(tx, *range(10))
        feedback.record_feedback(tx, [say(n, "pos") for n in range(10)])
        assert [row.seq for row in feedback.labelled(tx, MODEL, 8)] == [8, 9, 10]
        assert feedback.labelled(tx, "another-model") == []

    def test_outcomes_of_the_newest_labelled_predictions_of_a_version_in_their_order(self, tx: Connection):
        ingest(tx, 1, 2, 3, 4)
        ingest(tx, 5, version=2)
        feedback.record_feedback(tx, [say(3, "pos"), say(2, "pos"), say(1, "neg"), say(5, "neg")])
        assert seen(tx, 1, 100) == [(1, False), (2, True), (3, True)]
        assert seen(tx, 1, 2) == [(2, True), (3, True)]
        assert seen(tx, 1, 100, after_seq=2) == [(3, True)]
        assert seen(tx, 2, 100) == [(5, False)]
        assert seen(tx, 3, 100) == []


class TestQuota:
    """How many labels a client may give in a day; saying the same again costs nothing."""

    def test_what_is_over_it_is_rejected_one_by_one(self, tx: Connection):
        ingest(tx, *range(6))
        first = [say(n, "pos", client="ada") for n in range(2)]
        assert feedback.record_feedback(tx, first, daily_quota=4).accepted == 2
        again = [say(0, "pos", client="ada"), *(say(n, "pos", client="ada") for n in range(2, 6))]
        outcome = feedback.record_feedback(tx, again, daily_quota=4)
        assert (outcome.accepted, outcome.duplicates) == (2, 1)
        assert [index for index, _ in outcome.rejected] == [3, 4]
        assert set(labels(tx)) == {f"p{n}" for n in range(4)}

    def test_a_correction_costs_nothing(self, tx: Connection):
        ingest(tx, 1)
        feedback.record_feedback(tx, [say(1, "pos", client="ada")], daily_quota=1)
        changed = feedback.record_feedback(tx, [say(1, "neg", client="ada")], daily_quota=1)
        assert (changed.accepted, labels(tx)) == (1, {"p1": "neg"})

    def test_each_client_has_its_own_and_yesterday_does_not_count(self, tx: Connection):
        items = [say(1, "pos", client="ada"), say(2, "pos", client="bob"), say(3, "pos", client="bob")]
        outcome = feedback.record_feedback(tx, items, daily_quota=1)
        assert [index for index, _ in outcome.rejected] == [2]
        tx.execute(update(table).values(received_at=table.c.received_at - 86_401.0))
        assert feedback.record_feedback(tx, items[2:], daily_quota=1).accepted == 1

    def test_without_one_any_number_is_taken(self, tx: Connection):
        assert feedback.record_feedback(tx, [say(n, "pos") for n in range(50)]).rejected == ()


class TestWaiting:
    def test_the_delay_of_what_was_joined_is_told(self, tx: Connection):
        ingest(tx, 1, observed_at=clock.now(tx) - 3600.0)
        outcome = feedback.record_feedback(tx, [say(1, "pos"), say(2, "pos")])
        ((model, delay_s),) = outcome.delays
        assert (model, delay_s) == (MODEL, pytest.approx(3600.0, abs=60.0))

    def test_a_prediction_from_a_clock_that_is_ahead_has_no_negative_delay(self, tx: Connection):
        ingest(tx, 1, observed_at=clock.now(tx) + 3600.0)
        assert feedback.record_feedback(tx, [say(1, "pos")]).delays == ((MODEL, 0.0),)

    def test_what_waits_is_counted_and_expires(self, tx: Connection):
        ingest(tx, 1, observed_at=clock.now(tx))
        feedback.record_feedback(tx, [say(1, "pos"), say(2, "pos"), say(3, "pos")])
        assert feedback.count_pending(tx) == 2
        samples.expire(tx, 3600.0)
        assert feedback.count_pending(tx) == 2
        tx.execute(update(table).values(received_at=table.c.received_at - 7200.0))
        samples.expire(tx, 3600.0)
        assert feedback.count_pending(tx) == 0
        assert labels(tx) == {"p1": "pos"}


class TestAnyOrder:
    def test_ten_thousand_shuffled_and_repeated_items_are_joined_exactly_once_each(self, tx: Connection):
        """Samples and labels come interleaved, in no order: about half of the labels before their sample."""
        n, repeats, steps, random_ = 10_000, 3_500, 20, random.Random(3)
        items = [
            say(number, random_.choice(("neg", "pos")), observed_at=float(number)) for number in range(n)
        ]
        deliveries, numbers = [*items, *random_.sample(items, repeats)], list(range(n))
        random_.shuffle(deliveries)
        random_.shuffle(numbers)
        joined = pending = duplicates = 0
        for step in range(steps):
            outcome = feedback.record_feedback(tx, deliveries[step::steps])
            joined, pending = joined + outcome.joined, pending + outcome.pending
            duplicates += outcome.duplicates
            ingest(tx, *numbers[step::steps])
        assert (joined + pending, duplicates) == (n, repeats)
        assert min(joined, pending) > n / 4
        assert (len(rows(tx)), feedback.count_pending(tx)) == (n, 0)
        assert labels(tx) == {item.prediction_id: item.label for item in items}

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 2), st.sampled_from(["neg", "pos"]), st.sampled_from("ab"), st.integers(0, 3)
            ),
            max_size=12,
        ),
        st.randoms(use_true_random=False),
        st.integers(0, 12),
    )
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_every_order_ends_in_the_same_state(
        self, ledger: Ledger, said: list[tuple[int, str, str, int]], shuffler: random.Random, cut: int
    ):
        items = [say(number, label, annotator, float(at)) for number, label, annotator, at in said]
        again = items + items
        shuffler.shuffle(again)
        with ledger.begin() as tx, tx.begin_nested() as scratch:
            filled_model(tx, MODEL)
            straight = self._end(tx, items, len(items))
            shuffled = self._end(tx, again, cut)
            scratch.rollback()
        assert straight == shuffled

    def _end(self, tx: Connection, items: Sequence[FeedbackItem], cut: int) -> list[tuple[object, ...]]:
        """What is kept when the predictions arrive after `cut` items; sequence numbers counted from the first."""
        with tx.begin_nested() as scratch:
            feedback.record_feedback(tx, items[:cut])
            ingest(tx, 0, 1, 2)
            feedback.record_feedback(tx, items[cut:])
            first = samples.last_seq(tx) - 3
            kept = [(*row[:4], int(str(row[4])) - first) for row in rows(tx)]
            scratch.rollback()
        return kept
