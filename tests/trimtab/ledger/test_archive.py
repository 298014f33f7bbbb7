"""Rows leave one database and enter the other, and everything is as it was: values, numbers given, references."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.drift import MonitorState
from trimtab.ledger import (
    Ledger,
    archive,
    events,
    examples,
    feedback,
    gate_history,
    jobs,
    keys,
    label_requests,
    locks,
    replicas,
    reports,
    samples,
    tombstones,
    trials,
)
from trimtab.ledger.archive import LedgerNotEmpty
from trimtab.ledger.examples import Example
from trimtab.ledger.feedback import FeedbackItem
from trimtab.ledger.gate_history import Window
from trimtab.ledger.label_requests import NewRequest, Reason
from trimtab.ledger.schema import events as event_table
from trimtab.ledger.schema import metadata


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """A row in every table."""
    with ledger.begin() as tx:
        filled_model(tx)
        samples.ingest(
            tx,
            [
                block("b1", [
                    sample(1, text='naïve ✓\n"quoted"', shadow=(2, "neg", 0.7)), sample(2, text=None, domain="d"),
                ])
            ],
        )  # fmt: skip
        trials.start_trial(tx, "sentiment", 2, champion=1, job_id=None, reason="passed", actor="worker")
        feedback.record_feedback(tx, [_label("p1"), _label("nobody's yet")])
        example = Example(
            model="sentiment", domain="d", role="memory", text="t", key="k", label="pos", version=2,
            logits=(0.1, -1e-7), priority=2**62, source="test",
        )  # fmt: skip
        examples.add_examples(tx, [example, replace(example, role="gate")])
        gate_history.record_bits(tx, "sentiment", 2, {"d": {"k": True}})
        cause = {"kind": "x", "n": [1, None]}
        job = jobs.open_job(tx, "sentiment", cause=cause, domain="d", window_from_seq=1)
        wanted = NewRequest(seq=1, key="k", part="train", reason=Reason.RANDOM)
        label_requests.ask(tx, "sentiment", job.id, [wanted], expires_at=4e9)
        gate_history.record_uses(tx, "sentiment", job.id, {"d": 150})
        window = Window(model="sentiment", from_seq=1, to_seq=2, reason="poisoned")
        gate_history.quarantine_window(tx, window)
        tombstones.bury(tx, "client", "gone")
        reports.save_state(tx, MonitorState(model="sentiment"))
        keys.add_key(tx, "app", ["predict"])
        replicas.report_replica(tx, "r", pid=1, url="u", serving={}, generations={}, refused={})
        locks.hold(tx, "monitor", "somebody", 60.0)
    return ledger


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.system)])
def other(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Ledger]:
    """An empty ledger on either database."""
    url = f"sqlite:///{tmp_path}/other.db"
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        url = server.url(server.create_database())
    ledger = Ledger(url)
    ledger.migrate()
    yield ledger
    ledger.close()


def _label(prediction_id: str) -> FeedbackItem:
    return FeedbackItem(prediction_id=prediction_id, label="pos", annotator="a", observed_at=1.5)


def everything(tx: Connection) -> dict[str, list[dict[str, Any]]]:
    return {table.name: list(archive.rows_of(tx, table)) for table in archive.TABLES}


def copy(source: Ledger, target: Ledger) -> None:
    with source.read() as reading, target.begin() as writing:
        for table in archive.TABLES:
            archive.add_rows(writing, table, archive.rows_of(reading, table))
        archive.set_counters(writing, archive.counters_of(reading))


def test_every_row_comes_over_to_either_database(filled: Ledger, other: Ledger) -> None:
    copy(filled, other)
    with filled.read() as one, other.read() as two:
        before, after = everything(one), everything(two)
    assert {name for name, rows in before.items() if not rows} <= {"drift_reports"}
    assert after == before


def test_who_is_alive_does_not_come_over(filled: Ledger, other: Ledger) -> None:
    copy(filled, other)
    assert {table.name for table in archive.TABLES} == set(metadata.tables) - {"replicas", "leases"}
    with other.begin() as tx:
        assert replicas.list_replicas(tx) == []
        assert locks.hold(tx, "monitor", "another", 60.0)


def test_a_number_is_not_given_twice_although_its_row_was_deleted(filled: Ledger, other: Ledger) -> None:
    with filled.begin() as tx:
        last = events.record_event(tx, "soon gone", None)
        tx.execute(delete(event_table).where(event_table.c.seq >= last - 1))
    copy(filled, other)
    with other.begin() as tx:
        assert events.record_event(tx, "next", None) == last + 1
        samples.ingest(tx, [block("b2", [sample(3)])])
        assert samples.last_seq(tx) == 3


def test_what_was_ingested_is_known_after_the_move(filled: Ledger, other: Ledger) -> None:
    copy(filled, other)
    with other.begin() as tx:
        assert samples.ingest(tx, [block("b1", [sample(1), sample(2)])]) == 0


def test_a_ledger_with_rows_is_told_from_an_empty_one(filled: Ledger, other: Ledger) -> None:
    with other.begin() as tx:
        archive.require_empty(tx)
        locks.hold(tx, "monitor", "somebody", 60.0)
        archive.require_empty(tx)
    with filled.begin() as tx, pytest.raises(LedgerNotEmpty, match="restore into an empty one"):
        archive.require_empty(tx)


def test_more_rows_than_one_batch_keep_their_order(ledger: Ledger, other: Ledger) -> None:
    with ledger.begin() as tx:
        for n in range(2 * 500 + 1):
            events.record_event(tx, f"k{n}", None)
    copy(ledger, other)
    with other.read() as tx:
        kinds = list(tx.execute(select(event_table.c.kind).order_by(event_table.c.seq)).scalars())
    assert kinds == [f"k{n}" for n in range(1001)]
