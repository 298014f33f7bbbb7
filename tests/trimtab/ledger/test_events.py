from __future__ import annotations

from sqlalchemy import Connection

from trimtab.ledger import clock, events


def test_events_come_back_in_order_with_what_was_said(tx: Connection):
    first = events.record_event(tx, "promoted", "m", {"version": 2}, actor="worker-1")
    second = events.record_event(tx, "started", None)
    assert second > first
    one, other = events.list_events(tx)
    assert (one.seq, one.kind, one.model, one.actor, one.detail) == (
        first,
        "promoted",
        "m",
        "worker-1",
        {"version": 2},
    )
    assert (other.model, other.actor, other.detail) == (None, "system", {})
    assert abs(one.at - clock.now(tx)) < 5


def test_a_reader_goes_on_after_what_it_has_seen(tx: Connection):
    seqs = [events.record_event(tx, f"kind {n}", "m" if n % 2 else None) for n in range(5)]
    assert [event.seq for event in events.list_events(tx, after=seqs[1], limit=2)] == seqs[2:4]
    assert events.list_events(tx, after=seqs[-1]) == []
    assert [event.kind for event in events.list_events(tx, model="m")] == ["kind 1", "kind 3"]
    assert events.last_event_seq(tx) == seqs[-1]


def test_there_is_no_last_event_before_the_first(tx: Connection):
    assert events.last_event_seq(tx) == 0


def test_the_newest_come_first_page_by_page(tx: Connection):
    seqs = [events.record_event(tx, f"e{i}", "m" if i % 2 else None) for i in range(6)]
    assert [each.seq for each in events.newest_events(tx, limit=2)] == seqs[:-3:-1]
    assert [each.seq for each in events.newest_events(tx, seqs[4], limit=2)] == [seqs[3], seqs[2]]
    assert [each.seq for each in events.newest_events(tx, model="m")] == [seqs[5], seqs[3], seqs[1]]
