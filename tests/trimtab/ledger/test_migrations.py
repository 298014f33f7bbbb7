from __future__ import annotations

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.errors import LedgerUnavailable
from trimtab.ledger import Ledger, jobs, locks, samples
from trimtab.ledger.migrate import downgrade, upgrade
from trimtab.ledger.schema import metadata


@pytest.fixture
def empty(empty_url: str):
    ledger = Ledger(empty_url)
    yield ledger
    ledger.close()


def test_migrations_build_exactly_the_schema(empty: Ledger):
    empty.migrate()
    with empty.begin() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert set(inspect(tx).get_table_names()) == {*metadata.tables, "alembic_version"}


def test_partial_unique_index_is_there(empty: Ledger):
    """Autogenerate does not look at a partial index's condition."""
    empty.migrate()
    with empty.begin() as tx:
        indexes = {index["name"]: index for index in inspect(tx).get_indexes("jobs")}
    index = indexes["uq_jobs_in_flight"]
    assert index["unique"]
    assert index["column_names"] == ["model"]
    condition = next(
        str(value) for name, value in index["dialect_options"].items() if name.endswith("_where")
    )
    for status in ("queued", "waiting_for_labels", "running", "on_trial"):
        assert f"'{status}'" in condition


def test_migrating_again_changes_nothing(empty: Ledger):
    empty.migrate()
    empty.migrate()
    with empty.read() as tx:
        assert MigrationContext.configure(tx).get_current_revision() is not None


def test_down_and_up_again(empty: Ledger):
    empty.migrate()
    with empty.begin() as tx:
        downgrade(tx, "base")
        assert inspect(tx).get_table_names() == ["alembic_version"]
        upgrade(tx)
    with empty.read() as tx:
        assert set(metadata.tables) < set(inspect(tx).get_table_names())


def test_an_older_release_finds_no_job_on_trial(empty: Ledger):
    """It knows no such status: a job that is on trial when the tables are taken back is left to a person."""
    empty.migrate()
    with empty.begin() as tx:
        model = filled_model(tx)
        job = jobs.open_job(tx, model, cause={}, domain="d", window_from_seq=1)
        lease = jobs.claim(tx, job.id, "worker", 60.0)
        assert lease is not None
        jobs.await_trial(tx, lease, verdict={}, version=2, reason="passed")
        downgrade(tx, "0004")
        found = tx.exec_driver_sql("SELECT status, reason FROM jobs").one()
        assert tuple(found) == ("held", "its trial was undone")
        upgrade(tx)
    with empty.begin() as tx:
        assert jobs.in_flight(tx, model) is None
        assert samples.ingest(tx, [block("b1", [sample(1, shadow=(2, "neg", 0.5))])]) == 1


def test_a_migration_that_fails_leaves_nothing_behind(empty: Ledger):
    with pytest.raises((DBAPIError, LedgerUnavailable)), empty.begin() as tx:
        _upgrade_and_break(tx)
    with empty.read() as tx:
        assert inspect(tx).get_table_names() == []


def test_a_ledger_of_a_newer_release_is_left_alone(empty: Ledger):
    empty.migrate()
    with empty.begin() as tx:
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerUnavailable, match=r"newer release.*9999"):
        empty.migrate()


def test_old_processes_go_on_where_a_newer_release_added_things(empty: Ledger):
    """What a migration may do while old and new pods run side by side: add a column with a default, or a table."""
    empty.migrate()
    with empty.begin() as tx:
        for table in metadata.tables:
            tx.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN added_later TEXT NOT NULL DEFAULT 'new'")
        tx.exec_driver_sql("CREATE TABLE added_too (id INTEGER PRIMARY KEY)")
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with empty.begin() as tx:
        filled_model(tx)
        assert samples.ingest(tx, [block("b1", [sample(1)])]) == 1
        jobs.open_job(tx, "sentiment", cause={}, domain="d", window_from_seq=1)
        assert locks.hold(tx, "monitor", "old", 60.0)
    with empty.read() as tx:
        assert [job.model for job in jobs.list_jobs(tx)] == ["sentiment"]
        assert [row.prediction_id for row in samples.window_rows(tx, "sentiment", 1, 10)] == ["p1"]


def _upgrade_and_break(tx: Connection) -> None:
    upgrade(tx)
    tx.exec_driver_sql("INSERT INTO no_such_table VALUES (1)")


def test_processes_that_migrate_at_once_do_not_disturb_each_other(empty_url: str, empty: Ledger):
    script = "import sys; from trimtab.ledger import Ledger; sys.stdin.read(1); Ledger(sys.argv[1]).migrate()"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, empty_url],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:  # all wait at the line
        assert process.stdin is not None
        process.stdin.write("!")
        process.stdin.flush()
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    with empty.read() as tx:
        assert set(metadata.tables) < set(inspect(tx).get_table_names())


def test_the_home_directory_is_made(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/a%20b/deep/ledger.db")
    ledger.migrate()
    assert ledger.ping()
    ledger.close()
