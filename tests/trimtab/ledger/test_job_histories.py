"""Any sequence of calls, by workers with old and new leases, keeps to the legal transitions."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.fixtures.ledgers import filled_model
from trimtab.errors import IllegalTransition, LeaseLost
from trimtab.jobs import TRANSITIONS, JobStatus, Lease
from trimtab.ledger import Ledger, jobs, trials
from trimtab.trial import Stage

Call = Callable[[Connection, str, "Worker"], object]


class Worker:
    """Remembers every lease it got; acts with any of them, also with one that is void by now."""

    def __init__(self, chooser: random.Random) -> None:
        self.leases: list[Lease] = [Lease(job_id="", owner="nobody", token=0)]
        self._chooser = chooser

    def claim(self, tx: Connection, job_id: str, ttl_s: float) -> None:
        lease = jobs.claim(tx, job_id, "worker", ttl_s)
        if lease is not None:
            assert lease.token == self.leases[-1].token + 1
            self.leases.append(lease)

    def lease(self, job_id: str) -> Lease:
        chosen = self._chooser.choice(self.leases[-2:])
        return Lease(job_id=job_id, owner=chosen.owner, token=chosen.token)


def put_on_trial(tx: Connection, lease: Lease) -> None:
    job = jobs.await_trial(tx, lease, verdict={}, version=2, reason="passed")
    trials.start_trial(tx, job.model, 2, champion=1, job_id=job.id, reason="passed", actor=lease.owner)


def end_trial(tx: Connection, stage: Stage) -> None:
    for trial in trials.open_trials(tx).values():
        jobs.end_trial(tx, trial, stage, reason="seen enough", actor="trial")


CALLS: dict[str, Call] = {
    "claim": lambda tx, job_id, worker: worker.claim(tx, job_id, 60.0),
    "claim briefly": lambda tx, job_id, worker: worker.claim(tx, job_id, -1.0),
    "renew": lambda tx, job_id, worker: jobs.renew(tx, worker.lease(job_id), 60.0),
    "release": lambda tx, job_id, worker: jobs.release(tx, worker.lease(job_id)),
    "wait": lambda tx, job_id, worker: jobs.set_waiting(tx, worker.lease(job_id), missing={"gate": 1}),
    "requeue": lambda tx, job_id, worker: jobs.requeue_waiting(tx, job_id),
    "missing": lambda tx, job_id, worker: jobs.update_missing(tx, job_id, {"gate": 2}),
    "time out": lambda tx, job_id, worker: jobs.end_waiting(tx, job_id, reason="late"),
    "cancel": lambda tx, job_id, worker: jobs.cancel(tx, job_id),
    "promote": lambda tx, job_id, worker: jobs.finish(
        tx, worker.lease(job_id), JobStatus.PROMOTED, version=2
    ),
    "try it": lambda tx, job_id, worker: put_on_trial(tx, worker.lease(job_id)),
    "pass its trial": lambda tx, job_id, _: end_trial(tx, Stage.PROMOTED),
    "fail its trial": lambda tx, job_id, _: end_trial(tx, Stage.REJECTED),
    "reject": lambda tx, job_id, worker: jobs.finish(tx, worker.lease(job_id), JobStatus.REJECTED),
    "not an end": lambda tx, job_id, worker: jobs.finish(tx, worker.lease(job_id), JobStatus.QUEUED),
}


@given(
    names=st.lists(st.sampled_from(sorted(CALLS)), max_size=12),
    begin=st.sampled_from([JobStatus.QUEUED, JobStatus.WAITING_FOR_LABELS]),
    chooser=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_every_history_is_legal(
    names: list[str], begin: JobStatus, chooser: random.Random, migrated_file: Path
):
    ledger = Ledger(f"sqlite:///{migrated_file}")
    with ledger.begin() as tx, tx.begin_nested() as scratch:
        before = jobs.open_job(tx, filled_model(tx), cause={}, domain="d", window_from_seq=1, status=begin)
        worker = Worker(chooser)
        for name in names:
            _call(tx, name, before.id, worker)
            after = jobs.get_job(tx, before.id)
            if after.status is not before.status:
                assert after.status in TRANSITIONS[before.status], name
            assert (after.finished_at is not None) == after.status.final
            assert (after.lease_owner is not None) == (after.status is JobStatus.RUNNING)
            assert before.lease_token <= after.lease_token == worker.leases[-1].token
            assert (jobs.in_flight(tx, before.model) is None) == after.status.final
            assert bool(trials.open_trials(tx)) == (after.status is JobStatus.ON_TRIAL)
            before = after
        scratch.rollback()
    ledger.close()


def _call(tx: Connection, name: str, job_id: str, worker: Worker) -> None:
    status = jobs.get_job(tx, job_id).status
    try:
        CALLS[name](tx, job_id, worker)
    except (IllegalTransition, LeaseLost):
        assert jobs.get_job(tx, job_id).status is status, (
            f"{name} was refused and changed the job all the same"
        )
