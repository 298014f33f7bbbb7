"""One job in a worker: claim the lease, start the trainer, renew the lease while it runs, see to its end.

The trainer is a process of its own: its memory returns at its end, and a stuck call can be killed. This function
imports no torch and stays responsive whatever the trainer does.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

from trimtab import metrics
from trimtab.errors import JobNotFound, LeaseLost, LedgerUnavailable, StoreUnavailable
from trimtab.jobs import AdaptationJob, JobStatus, Lease
from trimtab.ledger import Ledger, jobs
from trimtab.settings import Settings, as_environment
from trimtab.store import CheckpointStore
from workers.tracing import trace_if_wanted

WORKERS_ARE_DONE = frozenset({JobStatus.ON_TRIAL, *(status for status in JobStatus if status.final)})
MAX_ATTEMPTS = 3
POLL_S = 0.25
LOOK_S = 1.0  # between two looks whether the job is still ours
GRACE_S = 10.0  # for a trainer that was asked to stop
TAIL_LINES = 8

_log = logging.getLogger(__name__)


class End(Enum):
    """Why the watch over a trainer ended."""

    EXITED = auto()
    LEASE_LOST = auto()
    OVERTIME = auto()
    WORKER_STOPS = auto()


@dataclass(frozen=True)
class Trainer:
    """A running trainer and the last lines that it wrote to standard error."""

    process: subprocess.Popen[str]
    tail: deque[str]
    reader: threading.Thread

    def ended_within(self, seconds: float) -> bool:
        """Whether it has ended, or does in this time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, grace_s: float = GRACE_S) -> None:
        """SIGTERM, and SIGKILL after a grace period."""
        if self.process.poll() is None:
            self.process.terminate()
            if not self.ended_within(grace_s):
                self.process.kill()
        self.process.wait()
        self.reader.join(timeout=5)


def run_job(
    job_id: str, settings: Settings, stopping: Callable[[], bool] = lambda: False
) -> JobStatus | None:
    """Runs the job unless somebody else does; returns its status afterwards, None when there was nothing to do.

    Raises LedgerUnavailable: then the message is delivered again.
    """
    ledger = Ledger(settings.ledger_url)
    try:
        lease = _claim(ledger, job_id, settings.training.lease_s)
        if lease is None:
            return None
        job = _conclude(ledger, lease, *_supervise(ledger, lease, settings, stopping))
        _count(job)
        if job.status in WORKERS_ARE_DONE:
            trace_if_wanted(ledger, job)
        remove_checkpoints(ledger, settings.store_url)
        return job.status
    finally:
        ledger.close()


def _claim(ledger: Ledger, job_id: str, ttl_s: float) -> Lease | None:
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    try:
        with ledger.begin() as tx:
            lease = jobs.claim(tx, job_id, owner, ttl_s)
            if lease is not None and jobs.get_job(tx, job_id).attempts > MAX_ATTEMPTS:
                jobs.finish(tx, lease, JobStatus.FAILED, reason=f"given up after {MAX_ATTEMPTS} attempts")
                return None
    except JobNotFound:
        _log.warning("a nudge for a job that does not exist", extra={"job": job_id})
        return None
    return lease


def _supervise(
    ledger: Ledger, lease: Lease, settings: Settings, stopping: Callable[[], bool]
) -> tuple[End, Trainer]:
    """Starts the trainer and watches it; whatever happens here, it does not outlive this call."""
    model = _job_of(ledger, lease).model
    running = metrics.JOB_RUNNING.labels(model)
    running.set(1)
    trainer = start_trainer(lease, settings)
    try:
        end = _watch(ledger, lease, trainer, settings, stopping)
        if end is End.LEASE_LOST:
            trainer.stop(grace_s=0.0)  # nothing that it still does counts
        return end, trainer
    except BaseException as error:
        # Celery's cold shutdown raises out of a signal handler; the job must not wait for its lease to expire.
        trainer.stop()
        stopped = not isinstance(error, Exception)
        with suppress(LeaseLost, LedgerUnavailable), ledger.begin() as tx:
            jobs.release(tx, lease, reason="the worker was interrupted", on_purpose=stopped)
        raise
    finally:
        trainer.stop()
        running.set(0)
        metrics.JOB_PROGRESS.labels(model).set(0)


def start_trainer(lease: Lease, settings: Settings) -> Trainer:
    """Starts `python -m workers.trainer` for this lease; its standard error is passed on and its tail kept."""
    argv = [sys.executable, "-m", "workers.trainer", lease.job_id, str(lease.token)]
    argv += ["--owner", lease.owner, "--parent", str(os.getpid())]
    threads = str(settings.training.threads)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
    environment |= as_environment(settings)
    environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
    # Threads that spin while they wait make a training on shared cores many times slower.
    environment["OMP_WAIT_POLICY"] = "passive"
    # oneDNN keeps what it compiled for every shape, 0.6 MB each, and every step of a fit has its own shapes.
    environment["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = "64"
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True, errors="replace"
    )
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    reader = threading.Thread(target=_pass_on, args=(process, tail), name="trainer-stderr", daemon=True)
    reader.start()
    return Trainer(process, tail, reader)


def _pass_on(process: subprocess.Popen[str], tail: deque[str]) -> None:
    if process.stderr is None:
        return
    with process.stderr as lines:
        for line in lines:
            tail.append(line.rstrip())
            sys.stderr.write(line)


@dataclass
class _Hold:
    """The lease while its trainer runs: looked at every second, renewed every third of its time."""

    ledger: Ledger
    lease: Lease
    ttl_s: float
    looked_at: float
    renewed_at: float

    def lasts(self, now: float) -> bool:
        """Whether the job is still ours. A ledger that is away is tried again until the lease must have expired."""
        if now - self.looked_at < LOOK_S:
            return True
        self.looked_at = now
        try:
            if now - self.renewed_at > self.ttl_s / 3:
                self.renew(now)
            with self.ledger.read() as tx:
                _show_progress(jobs.check(tx, self.lease))
        except LedgerUnavailable:
            return now - self.renewed_at < self.ttl_s
        except LeaseLost:
            return False
        return True

    def renew(self, now: float) -> None:
        """Extends the lease and counts the time since it was extended before. Raises LeaseLost, LedgerUnavailable."""
        with self.ledger.begin() as tx:
            jobs.count_worked(tx, self.lease, now - self.renewed_at)
            jobs.renew(tx, self.lease, self.ttl_s)
        self.renewed_at = now


def _watch(
    ledger: Ledger, lease: Lease, trainer: Trainer, settings: Settings, stopping: Callable[[], bool]
) -> End:
    """Waits for the trainer's end, while the lease lasts and the job's time, which counts over its attempts."""
    started = time.monotonic()
    hold = _Hold(ledger, lease, settings.training.lease_s, looked_at=started, renewed_at=started)
    left_s = settings.training.max_seconds - _job_of(ledger, lease).worked_s
    try:
        while not trainer.ended_within(POLL_S):
            now = time.monotonic()
            if stopping():
                return End.WORKER_STOPS
            if now - started > left_s:
                return End.OVERTIME
            if not hold.lasts(now):
                return End.LEASE_LOST
        return End.EXITED
    finally:
        with suppress(LeaseLost, LedgerUnavailable):
            hold.renew(time.monotonic())


def _show_progress(job: AdaptationJob) -> None:
    """The trainer writes into the ledger how far it is; a metric of the worker shows it."""
    told = job.progress or {}
    metrics.JOB_PROGRESS.labels(job.model).set(told.get("step", 0) / max(told.get("of", 1), 1))


def remove_checkpoints(ledger: Ledger, store_url: str) -> None:
    """Removes the checkpoints of every job that has ended, also of those that ended while no worker had them."""
    try:
        store = CheckpointStore(store_url)
        for job_id in store.jobs():
            if _has_ended(ledger, job_id):
                store.delete(job_id)
    except (StoreUnavailable, LedgerUnavailable) as error:
        _log.warning("checkpoints stay for now: %s", error)


def _has_ended(ledger: Ledger, job_id: str) -> bool:
    with ledger.read() as tx:
        try:
            return jobs.get_job(tx, job_id).status in WORKERS_ARE_DONE
        except JobNotFound:
            return False  # perhaps of another ledger that shares the store


def _conclude(ledger: Ledger, lease: Lease, end: End, trainer: Trainer) -> AdaptationJob:
    """The job after the trainer's end: it ended the job itself, or it is ended or given back here."""
    with ledger.begin() as tx:
        job = jobs.get_job(tx, lease.job_id)
        try:
            jobs.check(tx, lease)
        except LeaseLost:
            return job  # ended by the trainer, cancelled, or another worker's by now
        if end is End.OVERTIME:
            return jobs.finish(tx, lease, JobStatus.TIMED_OUT, reason="TRIMTAB_TRAINING__MAX_SECONDS is over")
        if end is End.WORKER_STOPS:
            return jobs.release(tx, lease, reason="the worker stopped", on_purpose=True)
        died = f"the trainer ended with exit code {trainer.process.returncode}"
        reason = "; ".join([died, *_told(trainer)])
        if job.attempts >= MAX_ATTEMPTS:
            return jobs.finish(tx, lease, JobStatus.FAILED, reason=f"{reason} (attempt {job.attempts})")
        return jobs.release(tx, lease, reason=reason)


def _told(trainer: Trainer) -> list[str]:
    return [line for line in trainer.tail if line]


def _job_of(ledger: Ledger, lease: Lease) -> AdaptationJob:
    with ledger.read() as tx:
        return jobs.get_job(tx, lease.job_id)


def _count(job: AdaptationJob) -> None:
    """Metrics of a job that workers are done with: outcome, run time, the gate's checks, gain and forgetting.

    The outcome of a job on trial is counted by the monitor, when there is one.
    """
    if job.status.final:
        metrics.JOBS.labels(job.model, job.status).inc()
    if job.started_at is not None and job.finished_at is not None:
        metrics.JOB_DURATION.labels(job.model).observe(job.finished_at - job.started_at)
    for check in (job.verdict or {}).get("checks", ()):
        kind = check["name"].partition(":")[0]
        metrics.GATE_CHECKS.labels(job.model, kind, check["result"]).inc()
        if kind == "gain" and check["value"] is not None:
            metrics.ADAPTATION_GAIN.labels(job.model).set(check["value"])
    losses = [c["value"] for c in (job.verdict or {}).get("checks", ()) if c["name"].startswith("forgetting")]
    if losses and None not in losses:
        metrics.FORGETTING.labels(job.model).set(max(losses))
