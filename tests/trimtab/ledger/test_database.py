from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import DBAPIError

from tests.fixtures.postgres import PostgresServer
from trimtab.errors import LedgerUnavailable, SettingsError
from trimtab.ledger import Ledger, clock, events
from trimtab.ledger.schema import events as event_table


def test_a_transaction_is_kept_and_an_exception_undoes_it(ledger: Ledger):
    with ledger.begin() as tx:
        events.record_event(tx, "kept", None)
    with pytest.raises(ZeroDivisionError), ledger.begin() as tx:
        tx.execute(insert(event_table), [_broken_event(tx)])
    with ledger.read() as tx:
        assert [event.kind for event in events.list_events(tx)] == ["kept"]


def _broken_event(tx: Connection) -> dict[str, object]:
    events.record_event(tx, "undone", None)
    return {"kind": str(1 // 0)}


def test_read_refuses_to_write(ledger: Ledger):
    with pytest.raises((LedgerUnavailable, DBAPIError)), ledger.read() as tx:
        events.record_event(tx, "sneaked in", None)
    with ledger.begin() as tx:  # the connection that goes back to the pool can write again
        events.record_event(tx, "allowed", None)
    with ledger.read() as tx:
        assert [event.kind for event in events.list_events(tx)] == ["allowed"]


def test_read_sees_one_moment(ledger: Ledger):
    with ledger.read() as reading:
        assert events.list_events(reading) == []
        with ledger.begin() as writing:
            events.record_event(writing, "meanwhile", None)
        assert events.list_events(reading) == []
    with ledger.read() as reading:
        assert len(events.list_events(reading)) == 1


def test_writers_come_one_after_the_other(ledger: Ledger):
    """Read, then write what was read plus one: without the writers' lock some of these would be lost."""
    barrier = threading.Barrier(4)

    def count_up() -> None:
        barrier.wait()
        for _ in range(10):
            with ledger.begin() as tx:
                n = tx.execute(select(func.count()).select_from(event_table)).scalar_one()
                events.record_event(tx, str(n), None)

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.read() as tx:
        kept = events.list_events(tx)
    assert [event.kind for event in kept] == [str(n) for n in range(40)]
    assert [event.seq for event in kept] == sorted(event.seq for event in kept)


def test_ping_tells_whether_the_database_answers(ledger: Ledger, tmp_path: Path):
    assert ledger.ping()
    away = Ledger(f"sqlite:///{tmp_path}/no/such/directory/ledger.db")
    assert not away.ping()
    with pytest.raises(LedgerUnavailable, match="cannot be reached"), away.begin():
        pytest.fail("a transaction began on a database that is not there")
    away.close()


@pytest.mark.system
def test_ping_notices_that_no_server_listens(tmp_path: Path):
    away = Ledger(f"postgresql://nobody@/nothing?host={tmp_path}")
    assert not away.ping()
    away.close()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_an_url_of_no_supported_database_is_refused(url: str):
    with pytest.raises(SettingsError, match=r"ledger\.url"):
        Ledger(url)


def test_who_waits_too_long_for_another_writer_is_told(
    ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("trimtab.ledger.database.WAIT_S", 0.05)
    impatient = Ledger(url)
    with ledger.begin() as tx:
        events.record_event(tx, "slow", None)
        with pytest.raises(LedgerUnavailable), impatient.begin():
            pytest.fail("two writers at once")
        with impatient.read() as reading:  # readers do not wait
            assert events.list_events(reading) == []
    with impatient.begin() as tx:
        assert [event.kind for event in events.list_events(tx)] == ["slow"]
    impatient.close()


@pytest.mark.system
def test_a_lost_connection_is_told_once_and_replaced(postgres: PostgresServer):
    ledger = Ledger(postgres.url("postgres"))
    with pytest.raises(LedgerUnavailable), ledger.read() as tx:
        tx.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
    assert ledger.ping()
    ledger.close()


def test_the_databases_clock_tells_epoch_seconds_and_goes_on(ledger: Ledger):
    import time

    before = time.time()
    with ledger.read() as tx:
        first, second = clock.now(tx), clock.now(tx)
    assert before - 0.01 <= first <= second <= time.time() + 0.01


def test_every_connection_of_a_sqlite_ledger_is_set_up(tmp_path: Path):
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    with ledger.read() as one, ledger.read() as other:
        for tx in (one, other):
            said = {name: tx.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in _PRAGMAS}
            assert said == _PRAGMAS
    ledger.close()


_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": 1,
    "foreign_keys": 1,
    "busy_timeout": 10_000,
    "query_only": 1,
}
