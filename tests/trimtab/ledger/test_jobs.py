from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, insert
from sqlalchemy.exc import IntegrityError

from tests.fixtures.ledgers import filled_model
from trimtab.errors import IllegalTransition, JobInFlight, JobNotFound, LeaseLost, ModelNotFound
from trimtab.jobs import AdaptationJob, Extent, JobStatus, Lease
from trimtab.ledger import clock, events, jobs
from trimtab.ledger.schema import jobs as job_table

EXPIRED = -1.0  # a lease that ended a second ago
FINAL = [status for status in JobStatus if status.final]


def opened(tx: Connection, model: str, **changes: Any) -> AdaptationJob:
    values: dict[str, Any] = {"cause": {"kind": "drift"}, "domain": "tweets", "window_from_seq": 5}
    return jobs.open_job(tx, model, **(values | changes))


def claimed(tx: Connection, job: AdaptationJob, owner: str = "worker-1", ttl_s: float = 30.0) -> Lease:
    lease = jobs.claim(tx, job.id, owner, ttl_s)
    assert lease is not None
    return lease


@pytest.fixture
def job(tx: Connection, model: str) -> AdaptationJob:
    return opened(tx, model)


class TestOpen:
    def test_a_job_comes_back_as_it_was_opened(self, tx: Connection, model: str):
        job = opened(
            tx,
            model,
            status=JobStatus.WAITING_FOR_LABELS,
            missing={"train": 20},
            deadline_at=2e9,
        )
        assert jobs.get_job(tx, job.id) == job == jobs.in_flight(tx, model)
        assert (job.model, job.domain, job.window_from_seq) == (model, "tweets", 5)
        assert (job.cause, job.missing, job.deadline_at) == ({"kind": "drift"}, {"train": 20}, 2e9)
        assert (job.lease_token, job.attempts, job.plan, job.verdict) == (0, 0, None, None)
        assert abs(job.created_at - clock.now(tx)) < 5
        assert events.list_events(tx)[-1].detail["job"] == job.id

    def test_one_in_flight_a_model(self, tx: Connection, model: str, job: AdaptationJob):
        with pytest.raises(JobInFlight, match=job.id):
            opened(tx, model)
        other = filled_model(tx, "another-model")
        assert opened(tx, other).status is JobStatus.QUEUED
        jobs.cancel(tx, job.id)
        assert opened(tx, model).id != job.id

    def test_the_database_itself_holds_at_most_one(self, tx: Connection, model: str, job: AdaptationJob):
        row: dict[str, Any] = {
            "id": "x",
            "model": model,
            "status": "waiting_for_labels",
            "cause": {},
            "domain": "d",
        }
        row |= {"window_from_seq": 1, "reason": "", "lease_token": 0, "attempts": 0, "created_at": 0.0}
        with pytest.raises(IntegrityError), tx.begin_nested():
            tx.execute(insert(job_table).values(**row))
        tx.execute(insert(job_table).values(**{**row, "status": "failed"}))

    def test_a_job_begins_queued_or_waiting(self, tx: Connection, model: str):
        with pytest.raises(IllegalTransition, match="cannot begin as running"):
            opened(tx, model, status=JobStatus.RUNNING)

    def test_unknown_things_are_named(self, tx: Connection):
        with pytest.raises(ModelNotFound):
            opened(tx, "nothing")
        with pytest.raises(JobNotFound, match="nothing"):
            jobs.get_job(tx, "nothing")
        with pytest.raises(JobNotFound):
            jobs.claim(tx, "nothing", "worker-1", 30.0)
        assert jobs.in_flight(tx, "nothing") is None


class TestLease:
    def test_a_queued_job_is_claimed_once(self, tx: Connection, job: AdaptationJob):
        lease = claimed(tx, job)
        assert (lease.job_id, lease.owner, lease.token) == (job.id, "worker-1", 1)
        assert jobs.claim(tx, job.id, "worker-2", 30.0) is None
        assert (
            jobs.claim(tx, job.id, "worker-1", 30.0) is None
        )  # a duplicate delivery to the same worker leaves too
        running = jobs.check(tx, lease)
        assert (running.status, running.attempts, running.lease_owner) == (JobStatus.RUNNING, 1, "worker-1")
        assert running.lease_expires_at == pytest.approx(clock.now(tx) + 30.0, abs=5)
        assert running.started_at is not None

    def test_an_expired_lease_is_taken_over_with_a_larger_token(self, tx: Connection, job: AdaptationJob):
        old = claimed(tx, job, "worker-1", EXPIRED)
        started_at = jobs.get_job(tx, job.id).started_at
        new = claimed(tx, job, "worker-2")
        assert new.token == old.token + 1
        taken = jobs.check(tx, new)
        assert (taken.attempts, taken.lease_owner, taken.started_at) == (2, "worker-2", started_at)

    @pytest.mark.parametrize("same_owner", [False, True])
    def test_an_old_lease_can_do_nothing(self, tx: Connection, job: AdaptationJob, same_owner: bool):
        old = claimed(tx, job, "worker-1", EXPIRED)
        new = claimed(tx, job, "worker-1" if same_owner else "worker-2")
        assert jobs.renew(tx, old, 30.0) is False
        attempts = [
            lambda: jobs.check(tx, old),
            lambda: jobs.set_progress(tx, old, {"step": 1}),
            lambda: jobs.set_plan(tx, old, {}),
            lambda: jobs.finish(tx, old, JobStatus.PROMOTED, version=2),
            lambda: jobs.release(tx, old),
            lambda: jobs.set_waiting(tx, old, missing={"gate": 1}),
        ]
        for attempt in attempts:
            with pytest.raises(LeaseLost, match="token 2; this lease has token 1"):
                attempt()
        untouched = jobs.check(tx, new)
        assert (untouched.progress, untouched.plan, untouched.version) == (None, None, None)

    def test_a_lease_that_expired_is_good_until_somebody_takes_over(self, tx: Connection, job: AdaptationJob):
        lease = claimed(tx, job, ttl_s=EXPIRED)
        assert jobs.renew(tx, lease, 30.0) is True
        assert jobs.claim(tx, job.id, "worker-2", 30.0) is None

    def test_progress_and_plan(self, tx: Connection, job: AdaptationJob):
        lease = claimed(tx, job)
        jobs.set_plan(tx, lease, {"method": "lora", "why": "labels"})
        jobs.set_progress(tx, lease, {"step": 10})
        jobs.set_progress(tx, lease, {"step": 20})
        seen = jobs.get_job(tx, job.id)
        assert (seen.plan, seen.progress) == ({"method": "lora", "why": "labels"}, {"step": 20})

    def test_what_it_reads_is_decided_once(self, tx: Connection, job: AdaptationJob):
        assert job.extent is None
        first, other = Extent(until_seq=9, labels_until=5.5), Extent(until_seq=12, labels_until=7.0)
        assert jobs.fix_extent(tx, claimed(tx, job, ttl_s=EXPIRED), first).extent == first
        assert jobs.fix_extent(tx, claimed(tx, job, "worker-2"), other).extent == first

    def test_one_that_waits_for_labels_reads_them_when_they_are_there(
        self, tx: Connection, job: AdaptationJob
    ):
        lease = claimed(tx, job)
        jobs.fix_extent(tx, lease, Extent(until_seq=9, labels_until=5.5))
        assert jobs.set_waiting(tx, lease, missing={"gate": 1}).extent is None

    def test_steps_are_kept_in_the_plan_whatever_is_planned_later(self, tx: Connection, job: AdaptationJob):
        lease = claimed(tx, job, ttl_s=EXPIRED)
        jobs.set_plan(tx, lease, {"method": "lora"})
        assert jobs.fix_steps(tx, lease, "a" * 64, 84) == 84
        late = claimed(tx, job, "worker-2")
        jobs.set_plan(tx, late, {"method": "head"})
        assert jobs.fix_steps(tx, late, "a" * 64, 12) == 84
        assert jobs.fix_steps(tx, late, "b" * 64, 12) == 12
        assert jobs.get_job(tx, job.id).plan == {"method": "head", "steps": {"a" * 64: 84, "b" * 64: 12}}

    def test_time_is_counted_over_its_attempts(self, tx: Connection, job: AdaptationJob):
        first = claimed(tx, job)
        for seconds in (10.0, 2.5):
            jobs.count_worked(tx, first, seconds)
        jobs.release(tx, first)
        jobs.count_worked(tx, claimed(tx, job, "worker-2"), 1.0)
        assert jobs.get_job(tx, job.id).worked_s == 13.5

    def test_released_it_can_be_claimed_at_once(self, tx: Connection, job: AdaptationJob):
        released = jobs.release(tx, claimed(tx, job), reason="worker stops")
        assert (released.status, released.lease_owner, released.reason) == (
            JobStatus.QUEUED,
            None,
            "worker stops",
        )
        assert claimed(tx, job, "worker-2").token == 2

    @pytest.mark.parametrize("status", [*FINAL, JobStatus.RUNNING])
    def test_releasing_does_not_end_it(self, tx: Connection, job: AdaptationJob, status: JobStatus):
        with pytest.raises(IllegalTransition):
            jobs.release(tx, claimed(tx, job), status)


class TestFinish:
    @pytest.mark.parametrize("status", FINAL)
    def test_the_outcome_is_kept_and_the_lease_is_void(
        self, tx: Connection, job: AdaptationJob, status: JobStatus
    ):
        lease = claimed(tx, job)
        done = jobs.finish(tx, lease, status, verdict={"gain": {"n": 150}}, version=2, reason="so it was")
        assert (done.status, done.version, done.reason) == (status, 2, "so it was")
        assert (done.verdict, done.lease_owner) == ({"gain": {"n": 150}}, None)
        assert done.finished_at is not None
        assert jobs.renew(tx, lease, 30.0) is False
        assert jobs.claim(tx, job.id, "worker-2", 30.0) is None
        with pytest.raises(LeaseLost, match=f"is {status}"):
            jobs.finish(tx, lease, JobStatus.FAILED)
        event = events.list_events(tx)[-1]
        assert (event.kind, event.detail["status"], event.actor) == ("job_finished", status, "worker-1")

    @pytest.mark.parametrize("status", sorted(set(JobStatus) - set(FINAL)))
    def test_only_a_final_status_ends_it(self, tx: Connection, job: AdaptationJob, status: JobStatus):
        with pytest.raises(IllegalTransition, match=f"does not end as {status}"):
            jobs.finish(tx, claimed(tx, job), status)


class TestWaiting:
    def test_a_worker_that_lacks_labels_lets_the_job_wait(self, tx: Connection, job: AdaptationJob):
        lease = claimed(tx, job)
        waiting = jobs.set_waiting(tx, lease, missing={"gate": 40}, deadline_at=2e9, reason="too few labels")
        assert (waiting.status, waiting.missing) == (JobStatus.WAITING_FOR_LABELS, {"gate": 40})
        assert (waiting.deadline_at, waiting.reason, waiting.lease_owner) == (2e9, "too few labels", None)
        assert jobs.claim(tx, job.id, "worker-2", 30.0) is None
        assert jobs.claimable_jobs(tx) == []
        assert jobs.update_missing(tx, job.id, {"gate": 3}).missing == {"gate": 3}
        queued = jobs.requeue_waiting(tx, job.id)
        assert (queued.status, queued.missing) == (JobStatus.QUEUED, None)
        assert claimed(tx, job, "worker-2").token == 2

    @pytest.mark.parametrize("status", [JobStatus.TIMED_OUT, JobStatus.HELD, JobStatus.FAILED])
    def test_labels_that_do_not_come_end_it(self, tx: Connection, model: str, status: JobStatus):
        job = opened(tx, model, status=JobStatus.WAITING_FOR_LABELS, missing={"train": 7})
        ended = jobs.end_waiting(tx, job.id, status, reason="no labels until the deadline")
        assert (ended.status, ended.missing) == (status, {"train": 7})
        assert ended.finished_at is not None
        assert jobs.in_flight(tx, model) is None

    @pytest.mark.parametrize("status", [JobStatus.PROMOTED, JobStatus.REJECTED, JobStatus.QUEUED])
    def test_waiting_does_not_end_in_a_verdict(self, tx: Connection, model: str, status: JobStatus):
        job = opened(tx, model, status=JobStatus.WAITING_FOR_LABELS)
        with pytest.raises(IllegalTransition):
            jobs.end_waiting(tx, job.id, status, reason="?")

    def test_a_job_that_does_not_wait(self, tx: Connection, job: AdaptationJob):
        with pytest.raises(IllegalTransition, match="is queued"):
            jobs.update_missing(tx, job.id, {"gate": 3})
        with pytest.raises(IllegalTransition, match="is queued"):
            jobs.requeue_waiting(tx, job.id)
        with pytest.raises(IllegalTransition, match="is queued"):
            jobs.end_waiting(tx, job.id, reason="late")


class TestCancel:
    def test_a_running_jobs_lease_is_void_from_then_on(self, tx: Connection, job: AdaptationJob):
        lease = claimed(tx, job)
        cancelled = jobs.cancel(tx, job.id, actor="ada")
        assert (cancelled.status, cancelled.reason) == (JobStatus.CANCELLED, "cancelled by ada")
        assert jobs.renew(tx, lease, 30.0) is False
        with pytest.raises(LeaseLost, match="is cancelled"):
            jobs.finish(tx, lease, JobStatus.PROMOTED)

    @pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.WAITING_FOR_LABELS])
    def test_a_job_that_did_not_run(self, tx: Connection, model: str, status: JobStatus):
        job = opened(tx, model, status=status)
        assert jobs.cancel(tx, job.id).status is JobStatus.CANCELLED

    def test_one_that_ended_stays_as_it_is(self, tx: Connection, job: AdaptationJob):
        done = jobs.finish(tx, claimed(tx, job), JobStatus.HELD)
        assert jobs.cancel(tx, job.id) == done


class TestList:
    def test_newest_first_and_filtered(self, tx: Connection, model: str):
        first = opened(tx, model)
        jobs.cancel(tx, first.id)
        second = opened(tx, model)
        third = opened(tx, filled_model(tx, "another-model"))
        assert [job.id for job in jobs.list_jobs(tx)] == [third.id, second.id, first.id]
        assert [job.id for job in jobs.list_jobs(tx, limit=1)] == [third.id]
        assert [job.id for job in jobs.list_jobs(tx, model)] == [second.id, first.id]
        assert [job.id for job in jobs.list_jobs(tx, model, JobStatus.CANCELLED)] == [first.id]

    def test_what_may_be_claimed_is_nudged_again(self, tx: Connection, model: str):
        queued = opened(tx, model)
        expired = opened(tx, filled_model(tx, "two"))
        claimed(tx, expired, ttl_s=EXPIRED)
        running = opened(tx, filled_model(tx, "three"))
        claimed(tx, running)
        opened(tx, filled_model(tx, "four"), status=JobStatus.WAITING_FOR_LABELS)
        assert [job.id for job in jobs.claimable_jobs(tx)] == [queued.id, expired.id]
