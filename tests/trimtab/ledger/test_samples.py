from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select, update

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.ledger import Ledger, clock, feedback, samples, windows
from trimtab.ledger.feedback import FeedbackItem
from trimtab.ledger.forget import forget
from trimtab.ledger.schema import blocks
from trimtab.splits import key_of, part_of

MODEL = "sentiment"


def ingest(tx: Connection, *numbers: int, **changes: object) -> int:
    """One block of these samples."""
    name = f"block {sorted(numbers)} {sorted(changes.items(), key=str)}"
    return samples.ingest(tx, [block(name, [sample(number, **changes) for number in numbers])])


def ids(tx: Connection) -> list[str]:
    return [row.prediction_id for row in samples.window_rows(tx, MODEL, 0, 10_000)]


class TestIngest:
    def test_a_sample_comes_back_as_it_was(self, tx: Connection):
        given_sample = sample(1, domain="tweets", group="article 7", client="ada", score=0.123456789)
        assert samples.ingest(tx, [block("b", [given_sample])]) == 1
        row = samples.get_prediction(tx, "p1")
        assert row is not None
        key = key_of("text number 1", "article 7")
        assert (row.seq, row.prediction_id, row.model, row.version, row.generation) == (1, "p1", MODEL, 1, 1)
        assert (row.text, row.key, row.part) == ("text number 1", key, part_of(key))
        assert (row.label, row.score, row.domain, row.group) == ("pos", 0.123456789, "tweets", "article 7")
        assert (row.client, row.observed_at) == ("ada", 1_000_001.0)
        assert samples.get_prediction(tx, "p2") is None

    def test_a_block_counts_once(self, tx: Connection):
        delivery = block("b1", [sample(1), sample(2)])
        assert samples.ingest(tx, [delivery, delivery]) == 2
        assert samples.ingest(tx, [delivery]) == 0
        assert ids(tx) == ["p1", "p2"]

    def test_a_prediction_counts_once_whatever_block_brings_it(self, tx: Connection):
        assert ingest(tx, 1, 2) == 2
        assert ingest(tx, 2, 3, 3) == 1
        assert ids(tx) == ["p1", "p2", "p3"]
        assert samples.events_seen(tx, MODEL) == 3

    def test_ids_that_are_kept_alike_count_once(self, tx: Connection):
        alike = [sample(1, prediction_id=each) for each in ("p\0", "p\ufffd")]
        assert samples.ingest(tx, [block("b", alike)]) == 1

    def test_nothing_is_nothing(self, tx: Connection):
        assert samples.ingest(tx, []) == 0
        assert samples.ingest(tx, [block("empty", [])]) == 0

    def test_more_samples_than_a_statement_takes(self, tx: Connection):
        assert ingest(tx, *range(1_201)) == 1_201
        assert ingest(tx, *range(1_202)) == 1
        assert samples.last_seq(tx) == 1_202

    def test_without_retention_no_text_is_kept_but_features_and_key_are(self, tx: Connection):
        delivery = block("b", [sample(1), sample(2, text=None), sample(3, text=None, group="g")])
        assert samples.ingest(tx, [delivery], keep_text=False) == 3
        rows = samples.window_rows(tx, MODEL, 0, 10)
        assert [row.text for row in rows] == [None, None, None]
        assert rows[0].key == key_of("text number 1")
        assert rows[2].key == key_of("", "g")
        assert len({row.key for row in rows}) == 3
        assert len(windows.rows_after(tx, MODEL, 1, 0, 10, n_features=2)) == 3

    def test_odd_characters_do_not_stop_the_stream(self, tx: Connection):
        odd = sample(
            1, prediction_id="p\0\ud800", text="NUL \0 and half a pair \ud83d", group="\0", client="\udfff"
        )
        assert samples.ingest(tx, [block("b", [odd])]) == 1
        assert samples.ingest(tx, [block("c", [odd])]) == 0
        (row,) = samples.window_rows(tx, MODEL, 0, 10)
        assert row.text == "NUL \ufffd and half a pair ?"
        assert (
            feedback.record_feedback(tx, [FeedbackItem(prediction_id="p\0\ud800", label="pos")]).joined == 1
        )

    def test_a_score_that_is_no_number_does_not_stop_the_stream(self, tx: Connection):
        assert ingest(tx, 1, score=float("nan"), features=(float("nan"), float("inf"))) == 1
        (row,) = samples.window_rows(tx, MODEL, 0, 10)
        assert row.score == 0.0
        assert np.isnan(windows.rows_after(tx, MODEL, 1, 0, 1, n_features=2).features[0, 0])

    def test_names_of_any_length_are_taken(self, tx: Connection):
        long = "".join(map(str, range(5_000)))
        endless = sample(1, prediction_id=long, client=long, domain=long, group=long)
        assert samples.ingest(tx, [block(long, [endless])]) == 1
        assert samples.ingest(tx, [block(long, [endless])]) == 0
        assert samples.ingest(tx, [block("another", [endless])]) == 0
        assert samples.get_prediction(tx, long) is not None
        said = FeedbackItem(prediction_id=long, label="pos", annotator=long, client=long)
        assert feedback.record_feedback(tx, [said]).joined == 1
        assert feedback.record_feedback(tx, [said]).duplicates == 1
        assert forget(tx, client=long).predictions == 1

    def test_samples_of_an_unknown_model_are_kept(self, tx: Connection):
        assert ingest(tx, 1, model="removed") == 1
        assert samples.events_seen(tx, "removed") == 1

    @given(st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=6), st.randoms(use_true_random=False))
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_deliveries_end_in_the_same_set(self, ledger: Ledger, contents: list[list[int]], random):
        deliveries = [
            block(f"b{n}", [sample(each) for each in content]) for n, content in enumerate(contents)
        ]
        repeated = deliveries + deliveries
        random.shuffle(repeated)
        with ledger.begin() as tx, tx.begin_nested() as scratch:
            new = sum(samples.ingest(tx, [delivery]) for delivery in repeated)
            expected = {f"p{each}" for content in contents for each in content}
            assert sorted(ids(tx)) == sorted(expected)
            assert new == len(expected) == samples.events_seen(tx, MODEL)
            scratch.rollback()


class TestWindow:
    def test_those_that_are_kept_by_id(self, tx: Connection):
        ingest(tx, 1, 2, 3)
        kept = samples.get_predictions(tx, ["p3", "p1", "p9"])
        assert {each: row.seq for each, row in kept.items()} == {"p1": 1, "p3": 3}
        assert samples.get_predictions(tx, []) == {}

    def test_rows_from_a_sequence_number_on(self, tx: Connection):
        ingest(tx, 1, 2, 3, 4)
        assert [row.seq for row in samples.window_rows(tx, MODEL, 2, 10)] == [2, 3, 4]
        assert [row.seq for row in samples.window_rows(tx, MODEL, 2, 2)] == [3, 4]

    def test_rows_that_lack_a_label(self, tx: Connection):
        filled_model(tx)
        ingest(tx, 1, 2, 3)
        feedback.record_feedback(tx, [FeedbackItem(prediction_id="p2", label="pos")])
        assert [row.seq for row in samples.unlabelled_rows(tx, MODEL, 0, 10)] == [1, 3]


class TestCounts:
    def test_events_by_model_version_and_sequence_number(self, tx: Connection):
        ingest(tx, 1, 2)
        ingest(tx, 3, version=2)
        ingest(tx, 4, model="another")
        assert samples.events_seen(tx, MODEL) == 3
        assert samples.events_seen(tx, MODEL, 1) == 2
        assert samples.events_seen(tx, MODEL, after_seq=1) == 2
        assert samples.events_seen(tx, MODEL, 2, after_seq=2) == 1
        assert samples.events_seen(tx, "nothing") == 0
        assert (samples.last_seq(tx), samples.last_seq(tx, MODEL), samples.last_seq(tx, "nothing")) == (
            4,
            3,
            0,
        )


class TestExpire:
    def test_what_is_older_goes_with_its_labels_and_the_count_stays(self, tx: Connection):
        filled_model(tx)
        now = clock.now(tx)
        ingest(tx, 1, 2, observed_at=now - 100)
        ingest(tx, 3, observed_at=now)
        items = [FeedbackItem(prediction_id=f"p{n}", label="pos") for n in (1, 3)]
        feedback.record_feedback(tx, items)
        assert samples.expire(tx, older_than_s=50) == 2
        assert samples.expire(tx, older_than_s=50) == 0
        assert ids(tx) == ["p3"]
        assert [row.prediction_id for row in feedback.labelled(tx, MODEL)] == ["p3"]
        assert samples.events_seen(tx, MODEL) == 3
        assert samples.events_seen(tx, MODEL, after_seq=1) == 1

    def test_a_sequence_number_is_never_given_twice(self, tx: Connection):
        ingest(tx, 1, 2)
        samples.expire(tx, older_than_s=0)
        ingest(tx, 3)
        assert samples.last_seq(tx) == 3

    def test_a_step_is_bounded(self, tx: Connection):
        ingest(tx, *range(10))
        assert [samples.expire(tx, 0, limit=4) for _ in range(4)] == [4, 4, 2, 0]

    def test_labels_that_wait_and_block_ids_expire_too(self, tx: Connection):
        ingest(tx, 1)
        feedback.record_feedback(tx, [FeedbackItem(prediction_id="never came", label="pos")])
        samples.expire(tx, older_than_s=-1)
        assert (
            feedback.record_feedback(tx, [FeedbackItem(prediction_id="never came", label="pos")]).pending == 1
        )
        assert (
            tx.execute(select(func.count()).select_from(blocks)).scalar_one() == 1
        )  # kept for a day at least
        tx.execute(update(blocks).values(ingested_at=clock.now(tx) - samples.BLOCKS_KEPT_S - 1))
        samples.expire(tx, older_than_s=10)
        assert tx.execute(select(func.count()).select_from(blocks)).scalar_one() == 0
