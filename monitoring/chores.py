"""What time brings about: labels arrive, deadlines pass, messages get lost, watches end, samples expire."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import Connection

from trimtab.drift import DriftState
from trimtab.errors import QueueUnavailable
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.labels import labels_missing
from trimtab.ledger import Ledger, examples, jobs, models, reports, samples
from trimtab.ledger.clock import now
from trimtab.ledger.tombstones import expire_tombstones
from trimtab.settings import TrainingSettings

log = logging.getLogger(__name__)

EXPIRE_EVERY_S = 60.0
EXPIRE_BATCH = 5000
MOST_ASKED = 2000  # labels of the gate's part: a gain that takes more to show is not worth asking people
FEATURES_KEPT_S = 7 * 86400.0  # where no text is kept: how long the rows without text are


def advance_waiting_jobs(tx: Connection, training: TrainingSettings) -> list[str]:
    """Queue the waiting jobs whose labels are there or whose deadline passed; returns their ids.

    After the deadline the worker decides with what there is, so that every job ends in a recorded decision.
    """
    moment = now(tx)
    return [
        job.id
        for job in jobs.list_jobs(tx, status=JobStatus.WAITING_FOR_LABELS)
        if _advance(tx, job, training, moment)
    ]


def keep_asking(tx: Connection, training: TrainingSettings) -> None:
    """Let held jobs ask for the labels that they were held for want of, while their drift lasts and no other job came.

    What is answered is there for the next job.
    """
    latest = [job for model in models.list_models(tx) for job in jobs.list_jobs(tx, model.name, limit=1)]
    held = [job for job in latest if job.status is JobStatus.HELD]
    lacking = {job.id: still_lacking(tx, job, training) for job in held}
    superseded = [
        job for job in jobs.asking_jobs(tx) if job.status is JobStatus.HELD and job.id not in lacking
    ]
    for job in (*held, *superseded):
        if lacking.get(job.id) != job.missing:
            jobs.update_missing(tx, job.id, lacking.get(job.id))


def still_lacking(tx: Connection, job: AdaptationJob, training: TrainingSettings) -> dict[str, int] | None:
    """Labels that a held job lacks, by part; None when it is not labels that it lacks, or its drift is over."""
    wanted = Wanted.of(job.verdict or {})
    state = reports.load_state(tx, job.model)
    lasts = state is not None and state.in_alarm and state.state is not DriftState.ACKNOWLEDGED
    if wanted is None or not lasts:
        return None
    return labels_missing(tx, job.model, job.window_from_seq, training, job.cause, wanted.gate) or None


@dataclass(frozen=True)
class Wanted:
    """That a verdict waits for labels: `gate` of them in all would decide its test of the gain; 0: no such test."""

    gate: int

    @classmethod
    def of(cls, verdict: Mapping[str, Any]) -> Self | None:
        """What a job's verdict waits for; None when it is not labels, or so many that none are asked for."""
        undecided = [
            check["n"] + check["more_labels"]
            for check in verdict.get("checks", ())
            if check["name"].startswith("gain:") and check.get("more_labels")
        ]
        if undecided:
            return cls(max(undecided)) if max(undecided) <= MOST_ASKED else None
        return cls(0) if verdict.get("missing") else None


def withdraw_job(tx: Connection, model: str) -> None:
    """Cancel the model's job if drift opened it and no worker has begun it.

    After a step back its window is the one that the version stepped back from was made of.
    """
    job = jobs.in_flight(tx, model)
    if job is None or job.status is JobStatus.RUNNING or job.cause.get("kind") != "drift":
        return
    jobs.cancel(
        tx, job.id, actor="monitor", reason="the version that its window led to was stepped back from"
    )


@dataclass
class Nudger:
    """Sends a job's id to the queue, again and again until a worker took the job.

    The message may be lost (Redis was wiped or away), the job row is not.
    """

    send: Callable[[str], None]
    again_after_s: float
    _sent: dict[tuple[str, int], float] = field(default_factory=dict)

    def nudge(self, job_id: str, token: int = 0) -> None:
        """Send now; a queue that cannot be reached is left for the next round."""
        self._sent[job_id, token] = time.monotonic()
        try:
            self.send(job_id)
        except QueueUnavailable as error:
            log.warning("nudge failed", extra={"job": job_id, "error": str(error)})

    def nudge_claimable(self, claimable: list[AdaptationJob]) -> None:
        """Send ids of jobs that nobody works on: at once if a worker was lost, else after a while."""
        waiting = {(job.id, job.lease_token): job for job in claimable}
        self._sent = {key: at for key, at in self._sent.items() if key in waiting}
        for (job_id, token), job in waiting.items():
            lost_worker = job.status is JobStatus.RUNNING
            sent_at = self._sent.get((job_id, token))
            if sent_at is None and not lost_worker:
                self._sent[job_id, token] = time.monotonic()  # whoever opened it sent the first message
            elif sent_at is None or time.monotonic() - sent_at >= self.again_after_s:
                self.nudge(job_id, token)


@dataclass
class Expiry:
    """Deletes what is older than its retention, once in a while.

    retention_s: of samples and reports. memory_s: of exemplars; 0: they stay.
    """

    ledger: Ledger
    retention_s: float
    memory_s: float = 0.0
    _done_at: float = field(default=-EXPIRE_EVERY_S, init=False)

    def expire(self) -> int:
        """Delete what is too old, if the last time is long enough ago; returns how many samples went."""
        if time.monotonic() - self._done_at < EXPIRE_EVERY_S:
            return 0
        self._done_at = time.monotonic()
        with self.ledger.begin() as tx:
            expire_tombstones(tx)
        if self.memory_s:
            self._in_batches(examples.expire_memory, self.memory_s)
        kept_s = self.retention_s or FEATURES_KEPT_S
        self._in_batches(reports.expire_reports, kept_s)
        return self._in_batches(samples.expire, kept_s)

    def _in_batches(self, expire: Callable[[Connection, float, int], int], kept_s: float) -> int:
        """Short transactions, for the API writes to the ledger, too."""
        total, gone = 0, EXPIRE_BATCH
        while gone == EXPIRE_BATCH:
            with self.ledger.begin() as tx:
                gone = expire(tx, kept_s, EXPIRE_BATCH)
            total += gone
        return total


def _advance(tx: Connection, job: AdaptationJob, training: TrainingSettings, moment: float) -> bool:
    missing = labels_missing(tx, job.model, job.window_from_seq, training, job.cause)
    late = job.deadline_at is not None and moment >= job.deadline_at
    if not missing or late:
        jobs.requeue_waiting(tx, job.id)
        log.info("waiting job queued", extra={"job": job.id, "missing": missing, "late": late})
        return True
    if missing != job.missing:
        jobs.update_missing(tx, job.id, missing)
    return False
