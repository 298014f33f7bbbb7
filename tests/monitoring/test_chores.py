"""Nudges and expiry on their own; the rest of the chores is tested through the monitor."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from monitoring.chores import Expiry, Nudger
from tests.fixtures.references import traffic
from tests.monitoring.conftest import Place
from tests.monitoring.test_policy import job, report
from trimtab.jobs import JobStatus
from trimtab.ledger import examples, reports, samples
from trimtab.ledger.examples import Example
from trimtab.ledger.forget import forget
from trimtab.ledger.schema import forgotten
from trimtab.ledger.tombstones import last_burial

QUEUED = replace(job(JobStatus.QUEUED), lease_token=0)


def test_a_queued_job_is_given_time_and_a_lost_one_is_not() -> None:
    sent: list[str] = []
    nudger = Nudger(sent.append, again_after_s=3600.0)
    lost = replace(job(JobStatus.RUNNING), id="lost", lease_token=1)
    for _ in range(3):
        nudger.nudge_claimable([QUEUED, lost])
    assert sent == ["lost"]


def test_a_job_lost_twice_is_nudged_twice() -> None:
    sent: list[str] = []
    nudger = Nudger(sent.append, again_after_s=3600.0)
    for token in (1, 2):
        nudger.nudge_claimable([replace(job(JobStatus.RUNNING), lease_token=token)])
    assert sent == ["j1", "j1"]


def test_jobs_that_were_taken_are_forgotten() -> None:
    nudger = Nudger(lambda _: None, again_after_s=3600.0)
    nudger.nudge_claimable([QUEUED])
    nudger.nudge_claimable([])
    assert nudger._sent == {}


def test_old_samples_expire_in_batches_and_once_a_while(place: Place) -> None:
    with place.ledger.begin() as tx:
        rows = place.block(traffic(30, 0.0, 1)).samples
        old = tuple(replace(sample, observed_at=1.0) for sample in rows[:20])
        block = replace(place.block(traffic(1, 0.0, 2)), samples=old + rows[20:])
        samples.ingest(tx, [("1-0", block)])
    expiry = Expiry(place.ledger, retention_s=60.0)
    assert expiry.expire() == 20
    assert expiry.expire() == 0
    with place.ledger.read() as tx:
        assert len(samples.window_rows(tx, "sentiment", 0, 100)) == 10


@pytest.mark.parametrize(("memory_s", "left"), [(0.0, {"old", "new"}), (60.0, {"new"})])
def test_exemplars_expire_only_if_so_asked(place: Place, memory_s: float, left: set[str]) -> None:
    with place.ledger.begin() as tx:
        common = Example(model="sentiment", domain="d", role="memory", text="x", key="old", created_at=1.0)
        examples.add_examples(tx, [common, replace(common, key="new", created_at=4e9)])
    Expiry(place.ledger, retention_s=60.0, memory_s=memory_s).expire()
    with place.ledger.read() as tx:
        assert examples.keys(tx, "sentiment", ["memory"]) == left


def test_names_that_were_forgotten_expire(place: Place) -> None:
    with place.ledger.begin() as tx:
        forget(tx, client="ada")
        tx.execute(update(forgotten).values(expires_at=1.0))
    Expiry(place.ledger, retention_s=60.0).expire()
    with place.ledger.read() as tx:
        assert last_burial(tx) == 0.0


def test_old_reports_expire_with_the_samples_but_those_that_opened_a_job(place: Place) -> None:
    with place.ledger.begin() as tx:
        reports.save_report(tx, report(0.5, id="quiet", model="sentiment", created_at=1.0))
        reports.save_report(tx, report(2.0, id="opened", model="sentiment", created_at=1.0, job_id="j1"))
        reports.save_report(tx, report(0.5, id="new", model="sentiment", created_at=4e9))
    assert Expiry(place.ledger, retention_s=60.0).expire() == 0
    assert [each.id for each in place.reports()] == ["new", "opened"]
