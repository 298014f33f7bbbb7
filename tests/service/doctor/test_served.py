"""What should be served can be: files that verify, base models, replicas that follow, a monitor at work."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from service.doctor import Check, Verdict, examine
from service.doctor.served import SILENT_S, check_monitor, check_replicas, check_served
from tests.fixtures.deployment import Deployment
from trimtab.ledger import locks, replicas
from trimtab.ledger.migrate import downgrade
from trimtab.ledger.schema import models as model_table
from trimtab.ledger.schema import replicas as replica_table
from trimtab.settings import Settings


@pytest.fixture
def served(toy: Deployment) -> Deployment:
    toy.create_model()
    toy.add_version(1)
    toy.add_version(2)
    return toy


def named(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in check_served(settings)}


def report(toy: Deployment, generation: int) -> None:
    with toy.ledger.begin() as tx:
        replicas.report_replica(
            tx, "a", pid=1, url="u", serving={}, generations={"toy": generation}, refused={}
        )


def test_what_serves_verifies(served: Deployment) -> None:
    found = named(served.settings)
    assert set(found) == {"version 1 of toy", "version 2 of toy", "base of toy"}
    assert {check.verdict for check in found.values()} == {Verdict.OK}


def test_a_lost_and_a_changed_version_are_told(served: Deployment) -> None:
    digests = list(served.store.digests())
    served.store.delete(digests[0])
    manifest = served.files_of(digests[1]) / "head.safetensors"
    manifest.write_bytes(b"changed")
    found = named(served.settings)
    broken = {check.detail.split()[0] for check in found.values() if check.verdict is Verdict.FAIL}
    assert broken == {"the", "head.safetensors:"}


def test_a_base_that_is_not_here_is_told(served: Deployment, tmp_path: Path) -> None:
    for base, verdict in ((str(tmp_path / "gone"), Verdict.FAIL), ("hub/id", Verdict.OK)):
        with served.ledger.begin() as tx:
            tx.execute(update(model_table).values(base=base))
        assert named(served.settings)["base of toy"].verdict is verdict


def test_replicas_that_lag_or_are_silent_are_told(served: Deployment) -> None:
    assert [check.verdict for check in check_replicas(served.settings)] == [Verdict.WARN]  # none
    report(served, 2)
    assert [check.verdict for check in check_replicas(served.settings)] == [Verdict.OK]
    report(served, 1)
    (behind,) = check_replicas(served.settings)
    assert (behind.verdict, "wanted {'toy': 2}" in behind.detail) == (Verdict.WARN, True)
    with served.ledger.begin() as tx:
        tx.execute(update(replica_table).values(reported_at=replica_table.c.reported_at - SILENT_S - 1))
    (silent,) = check_replicas(served.settings)
    assert (silent.verdict, "silent" in silent.detail) == (Verdict.WARN, True)


def test_a_monitor_that_works_is_named(served: Deployment) -> None:
    assert [check.verdict for check in check_monitor(served.settings)] == [Verdict.WARN]
    with served.ledger.begin() as tx:
        locks.hold(tx, "monitor", "host:1", 60.0)
    assert [check.detail for check in check_monitor(served.settings)] == ["host:1 works"]
    with served.ledger.begin() as tx:
        locks.hold(tx, "monitor", "host:1", -1.0)
    assert [check.verdict for check in check_monitor(served.settings)] == [Verdict.WARN]


def test_one_finding_does_not_hide_the_others(served: Deployment) -> None:
    served.settings.public_key_path.unlink()
    found = {check.name: check for check in examine(served.settings)}
    assert found["keys"].verdict is Verdict.FAIL
    assert found["served"].verdict is Verdict.FAIL
    assert found["ledger"].verdict is Verdict.OK


def test_a_ledger_without_tables_is_looked_at_no_further(toy: Deployment) -> None:
    with toy.ledger.begin() as tx:
        downgrade(tx, "base")
    assert [*check_served(toy.settings), *check_replicas(toy.settings), *check_monitor(toy.settings)] == []
