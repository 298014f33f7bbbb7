"""Adaptation jobs and the leases on them. A lease ends by the database's clock; its token fences late writers off."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, insert, or_, select, update

from trimtab.errors import IllegalTransition, InvalidInput, JobInFlight, JobNotFound, LeaseLost
from trimtab.jobs import ASKING, IN_FLIGHT, AdaptationJob, Extent, JobStatus, Lease, require_transition
from trimtab.ledger import trials
from trimtab.ledger.clock import db_now, now
from trimtab.ledger.events import record_event
from trimtab.ledger.examples import GIVEN_ROLES
from trimtab.ledger.models import get_model
from trimtab.ledger.schema import examples, jobs
from trimtab.trial import Stage, Trial

SHOWN = 8  # characters of an id that tables show; enough to name a job by


def open_job(
    tx: Connection,
    model: str,
    *,
    cause: Mapping[str, Any],
    domain: str,
    window_from_seq: int,
    status: JobStatus = JobStatus.QUEUED,
    missing: Mapping[str, int] | None = None,
    deadline_at: float | None = None,
) -> AdaptationJob:
    """Open a job, queued or waiting for labels.

    Raises:
        ModelNotFound: There is no such model.
        JobInFlight: The model has a job that has not ended.
        IllegalTransition: A job cannot begin with this status.
    """
    get_model(tx, model)
    if status not in {JobStatus.QUEUED, JobStatus.WAITING_FOR_LABELS}:
        raise IllegalTransition(f"A job cannot begin as {status}.")
    other = in_flight(tx, model)
    if other is not None:
        raise JobInFlight(f"Job {other.id} of {model!r} is {other.status}.")
    job_id = uuid.uuid4().hex
    row: dict[str, Any] = {
        "id": job_id,
        "model": model,
        "status": status,
        "cause": dict(cause),
        "domain": domain,
        "reason": "",
    }
    row |= {"missing": _plain(missing), "deadline_at": deadline_at, "window_from_seq": window_from_seq}
    tx.execute(insert(jobs).values(**row, lease_token=0, attempts=0, created_at=now(tx)))
    record_event(tx, "job_opened", model, {"job": job_id, "status": status, "cause": dict(cause)})
    return get_job(tx, job_id)


def claim(tx: Connection, job_id: str, owner: str, ttl_s: float) -> Lease | None:
    """Take the lease of a job that is queued, or running with an expired lease; None when it is neither.

    The token grows by one and makes every earlier lease void. Raises JobNotFound.
    """
    get_job(tx, job_id)
    taken = {"status": JobStatus.RUNNING, "lease_owner": owner, "lease_expires_at": db_now() + ttl_s}
    counted = {"lease_token": jobs.c.lease_token + 1, "attempts": jobs.c.attempts + 1}
    statement = update(jobs).where(jobs.c.id == job_id, _claimable()).values(**taken, **counted)
    token = tx.execute(statement.returning(jobs.c.lease_token)).scalar_one_or_none()
    if token is None:
        return None
    tx.execute(
        update(jobs).where(jobs.c.id == job_id, jobs.c.started_at.is_(None)).values(started_at=db_now())
    )
    return Lease(job_id=job_id, owner=owner, token=int(token))


def renew(tx: Connection, lease: Lease, ttl_s: float) -> bool:
    """Extend the lease; False when it is void. A lease that expired but was not taken over is extended."""
    statement = update(jobs).where(*_held(lease)).values(lease_expires_at=db_now() + ttl_s)
    return tx.execute(statement).rowcount == 1


def check(tx: Connection, lease: Lease) -> AdaptationJob:
    """The job, if the lease is still its newest and the job still runs; raises LeaseLost otherwise."""
    row = tx.execute(select(jobs).where(*_held(lease))).mappings().one_or_none()
    if row is None:
        raise LeaseLost(_why_lost(tx, lease))
    return _job(row)


def set_progress(tx: Connection, lease: Lease, progress: Mapping[str, Any]) -> None:
    """Say what the worker is doing; raises LeaseLost."""
    _change(tx, lease, progress=dict(progress))


def set_plan(tx: Connection, lease: Lease, plan: Mapping[str, Any]) -> None:
    """Record what the worker decided to do; the steps that fits have already stay. Raises LeaseLost."""
    fixed = (check(tx, lease).plan or {}).get("steps")
    _change(tx, lease, plan=dict(plan) | ({"steps": fixed} if fixed else {}))


def fix_extent(tx: Connection, lease: Lease, extent: Extent) -> AdaptationJob:
    """Decide what the job reads, unless that was decided before. Raises LeaseLost."""
    if check(tx, lease).extent is None:
        _change(tx, lease, window_until_seq=extent.until_seq, labels_until=extent.labels_until)
    return get_job(tx, lease.job_id)


def fix_steps(tx: Connection, lease: Lease, fit: str, steps: int) -> int:
    """Write into the plan how many steps a fit (its digest) has, unless it says so already; returns what it says.

    Raises LeaseLost.
    """
    plan = check(tx, lease).plan or {}
    kept = {fit: steps} | plan.get("steps", {})
    _change(tx, lease, plan=plan | {"steps": kept})
    return int(kept[fit])


def count_worked(tx: Connection, lease: Lease, seconds: float) -> None:
    """Add to the time that workers have spent on the job. Raises LeaseLost."""
    _change(tx, lease, worked_s=jobs.c.worked_s + seconds)


def finish(
    tx: Connection,
    lease: Lease,
    status: JobStatus,
    *,
    verdict: Mapping[str, Any] | None = None,
    version: int | None = None,
    reason: str = "",
) -> AdaptationJob:
    """End the job with a final status. Raises LeaseLost, IllegalTransition."""
    if not status.final:
        raise IllegalTransition(f"A job does not end as {status}.")
    outcome = {"verdict": _plain(verdict), "version": version, "reason": reason}
    _change(tx, lease, status=status, finished_at=db_now(), **_NO_LEASE, **outcome)
    return _ended(tx, lease.job_id, lease.owner)


def release(
    tx: Connection,
    lease: Lease,
    status: JobStatus = JobStatus.QUEUED,
    *,
    reason: str = "",
    on_purpose: bool = False,
) -> AdaptationJob:
    """Give the lease up: the job is queued or waits for labels. Raises LeaseLost, IllegalTransition.

    What was stopped on purpose, as a worker is that somebody replaces, is no attempt.
    """
    if status not in {JobStatus.QUEUED, JobStatus.WAITING_FOR_LABELS}:
        raise IllegalTransition(f"A job that is released cannot be {status}.")
    attempts = jobs.c.attempts - int(on_purpose)
    _change(tx, lease, status=status, reason=reason, attempts=attempts, **_NO_LEASE)
    return get_job(tx, lease.job_id)


def set_waiting(
    tx: Connection,
    lease: Lease,
    *,
    missing: Mapping[str, int],
    deadline_at: float | None = None,
    reason: str = "",
) -> AdaptationJob:
    """Give the lease up because labels are missing; who takes it next reads those that come. Raises LeaseLost."""
    unread = {"window_until_seq": None, "labels_until": None}
    _change(tx, lease, missing=dict(missing), deadline_at=deadline_at, **unread)
    return release(tx, lease, JobStatus.WAITING_FOR_LABELS, reason=reason)


def update_missing(tx: Connection, job_id: str, missing: Mapping[str, int] | None) -> AdaptationJob:
    """Say anew which labels a job lacks that waits for them, or was held; None: none are asked for.

    Raises JobNotFound, IllegalTransition for another job.
    """
    job = get_job(tx, job_id)
    if job.status not in ASKING:
        raise IllegalTransition(f"Job {job_id} is {job.status}, it does not wait for labels.")
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(missing=_plain(missing)))
    return get_job(tx, job_id)


def requeue_waiting(tx: Connection, job_id: str) -> AdaptationJob:
    """Queue a job that waited for labels. Raises JobNotFound, IllegalTransition."""
    _require(tx, job_id, JobStatus.WAITING_FOR_LABELS, JobStatus.QUEUED)
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(status=JobStatus.QUEUED, missing=None))
    return get_job(tx, job_id)


def end_waiting(
    tx: Connection,
    job_id: str,
    status: JobStatus = JobStatus.TIMED_OUT,
    *,
    reason: str,
    actor: str = "monitor",
) -> AdaptationJob:
    """End a job whose labels did not come; `missing` stays readable. Raises JobNotFound, IllegalTransition."""
    if not status.final:
        raise IllegalTransition(f"A job does not end as {status}.")
    _require(tx, job_id, JobStatus.WAITING_FOR_LABELS, status)
    tx.execute(
        update(jobs).where(jobs.c.id == job_id).values(status=status, reason=reason, finished_at=db_now())
    )
    return _ended(tx, job_id, actor)


def cancel(tx: Connection, job_id: str, *, actor: str = "operator", reason: str = "") -> AdaptationJob:
    """Cancel a job that has not ended; its lease is void, and the trial of its version over from now on.

    A job that has ended is returned as it is. Raises JobNotFound.
    """
    job = get_job(tx, job_id)
    if job.status.final:
        return job
    reason = reason or f"cancelled by {actor}"
    trial = trials.open_trial(tx, job.model, lock=True)
    if trial is not None and trial.job_id == job_id:
        trials.end(tx, trial, Stage.ABANDONED, reason=reason, actor=actor)
    values = {"status": JobStatus.CANCELLED, "reason": reason, "finished_at": db_now()}
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(**values, **_NO_LEASE))
    return _ended(tx, job_id, actor)


def await_trial(
    tx: Connection, lease: Lease, *, verdict: Mapping[str, Any], version: int, reason: str
) -> AdaptationJob:
    """Give the lease up: the worker is done, and the job ends with the trial of its version. Raises LeaseLost."""
    outcome = {"verdict": dict(verdict), "version": version, "reason": reason}
    _change(tx, lease, status=JobStatus.ON_TRIAL, **_NO_LEASE, **outcome)
    return get_job(tx, lease.job_id)


def end_trial(
    tx: Connection,
    trial: Trial,
    stage: Stage,
    *,
    reason: str,
    actor: str,
    status: JobStatus | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """End a trial, and with it the job that waits for it; again is no change.

    Args:
        tx: The transaction.
        trial: The trial.
        stage: Promoted, rejected or abandoned.
        reason, actor: Why, and by whom: shown to people.
        status: How the job ends; by default as the trial does, and held where it was abandoned.
        evidence: What was seen last; None: what the trial says.
    """
    trials.end(tx, trial, stage, reason=reason, actor=actor, evidence=evidence)
    if trial.job_id is None or get_job(tx, trial.job_id).status is not JobStatus.ON_TRIAL:
        return
    values = {"status": status or _AFTER_TRIAL[stage], "reason": reason, "finished_at": db_now()}
    tx.execute(update(jobs).where(jobs.c.id == trial.job_id).values(**values))
    _ended(tx, trial.job_id, actor)


_AFTER_TRIAL = {
    Stage.PROMOTED: JobStatus.PROMOTED,
    Stage.REJECTED: JobStatus.REJECTED,
    Stage.ABANDONED: JobStatus.HELD,
}


def note(tx: Connection, job_id: str, reason: str) -> None:
    """Say something about a job that has ended: what became of its version."""
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(reason=reason))


def get_job(tx: Connection, job_id: str) -> AdaptationJob:
    """The job; raises JobNotFound."""
    row = tx.execute(select(jobs).where(jobs.c.id == job_id)).mappings().one_or_none()
    if row is None:
        raise JobNotFound(f"There is no job {job_id}.")
    return _job(row)


def find_job(tx: Connection, given: str) -> AdaptationJob:
    """The job by its id or the first 8 characters or more of it, as tables show them.

    Raises:
        JobNotFound: there is none.
        InvalidInput: several jobs begin so.
    """
    if len(given) < SHOWN:
        return get_job(tx, given)
    query = select(jobs).where(jobs.c.id.startswith(given.lower(), autoescape=True)).limit(2)
    rows = tx.execute(query).mappings().all()
    if len(rows) > 1:
        raise InvalidInput(f"Several jobs begin with {given}: name more of the id.")
    return _job(rows[0]) if rows else get_job(tx, given)


def list_jobs(
    tx: Connection, model: str | None = None, status: JobStatus | None = None, limit: int = 50
) -> list[AdaptationJob]:
    """The newest jobs first."""
    query = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id).limit(limit)
    if model is not None:
        query = query.where(jobs.c.model == model)
    if status is not None:
        query = query.where(jobs.c.status == status)
    return [_job(row) for row in tx.execute(query).mappings()]


def asking_jobs(tx: Connection) -> list[AdaptationJob]:
    """Jobs that labels are asked for, those that wait first, then the newest."""
    query = select(jobs).where(jobs.c.status.in_(sorted(ASKING)), jobs.c.missing.is_not(None))
    rows = tx.execute(query.order_by(jobs.c.finished_at.is_not(None), jobs.c.created_at.desc())).mappings()
    return [job for job in map(_job, rows) if job.asks]


def claimable_jobs(tx: Connection) -> list[AdaptationJob]:
    """Jobs that a worker may claim now (queued, or running with an expired lease), oldest first: to be nudged again."""
    rows = tx.execute(select(jobs).where(_claimable()).order_by(jobs.c.created_at)).mappings()
    return [_job(row) for row in rows]


def in_flight(tx: Connection, model: str) -> AdaptationJob | None:
    """The model's one job that has not ended, if there is one."""
    query = select(jobs).where(jobs.c.model == model, jobs.c.status.in_(sorted(IN_FLIGHT)))
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _job(row)


_NO_LEASE: dict[str, Any] = {"lease_owner": None, "lease_expires_at": None}


def _claimable() -> ColumnElement[bool]:
    expired = (jobs.c.status == JobStatus.RUNNING) & (jobs.c.lease_expires_at < db_now())
    return or_(jobs.c.status == JobStatus.QUEUED, expired)


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        jobs.c.id == lease.job_id,
        jobs.c.status == JobStatus.RUNNING,
        jobs.c.lease_owner == lease.owner,
        jobs.c.lease_token == lease.token,
    )


def _change(tx: Connection, lease: Lease, **values: Any) -> None:
    if tx.execute(update(jobs).where(*_held(lease)).values(**values)).rowcount != 1:
        raise LeaseLost(_why_lost(tx, lease))


def _why_lost(tx: Connection, lease: Lease) -> str:
    job = get_job(tx, lease.job_id)
    return f"Job {job.id} is {job.status} with token {job.lease_token}; this lease has token {lease.token}."


def _require(tx: Connection, job_id: str, before: JobStatus, after: JobStatus) -> None:
    job = get_job(tx, job_id)
    if job.status is not before:
        raise IllegalTransition(f"Job {job_id} is {job.status}, not {before}.")
    require_transition(before, after)


def _ended(tx: Connection, job_id: str, actor: str) -> AdaptationJob:
    """The job that has just ended, with its event; rows of a file that it was given are not kept any longer."""
    job = get_job(tx, job_id)
    tx.execute(delete(examples).where(examples.c.job_id == job_id, examples.c.role.in_(GIVEN_ROLES)))
    detail = {"job": job.id, "status": job.status, "version": job.version, "reason": job.reason}
    record_event(tx, "job_finished", job.model, detail, actor)
    return job


def _plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if value is None else dict(value)


def _job(row: RowMapping) -> AdaptationJob:
    return AdaptationJob(**{**row, "status": JobStatus(row["status"])})
