"""An adaptation job: what it is, where it stands, and which changes of status are legal. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from trimtab.errors import IllegalTransition

REBASE = "rebase"  # kind of cause: another base model
PRIOR_BACK = "prior_back"  # kind of cause: the classes' shares are as they were before a prior correction


class JobStatus(StrEnum):
    """Where a job stands; `meaning` is the sentence shown to people."""

    QUEUED = "queued"
    WAITING_FOR_LABELS = "waiting_for_labels"
    RUNNING = "running"
    ON_TRIAL = "on_trial"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    HELD = "held"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    @property
    def final(self) -> bool:
        """Whether the job can no longer change."""
        return not TRANSITIONS[self]

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return _MEANINGS[self]


_MEANINGS = {
    JobStatus.QUEUED: "A worker may claim it.",
    JobStatus.WAITING_FOR_LABELS: "Labels are missing; `missing` says how many of what, `deadline_at` until when.",
    JobStatus.RUNNING: "A worker holds its lease.",
    JobStatus.ON_TRIAL: "Its version passed the gate and is tried on real traffic.",
    JobStatus.PROMOTED: "Its version passed the gate and was made champion.",
    JobStatus.REJECTED: "Its version failed the gate or its trial.",
    JobStatus.HELD: "Its version, or the decision, waits for a person.",
    JobStatus.FAILED: "It could not be done; `reason` says why.",
    JobStatus.CANCELLED: "Somebody cancelled it.",
    JobStatus.TIMED_OUT: "Its time or its deadline for labels passed.",
}

_ENDS_EARLY = {JobStatus.CANCELLED, JobStatus.TIMED_OUT, JobStatus.FAILED}

TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.WAITING_FOR_LABELS} | _ENDS_EARLY),
    JobStatus.WAITING_FOR_LABELS: frozenset({JobStatus.QUEUED, JobStatus.HELD} | _ENDS_EARLY),
    JobStatus.RUNNING: frozenset(set(JobStatus)),  # running -> running: an expired lease is taken over
    JobStatus.ON_TRIAL: frozenset({JobStatus.PROMOTED, JobStatus.REJECTED, JobStatus.HELD} | _ENDS_EARLY),
    JobStatus.PROMOTED: frozenset(),
    JobStatus.REJECTED: frozenset(),
    JobStatus.HELD: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
    JobStatus.TIMED_OUT: frozenset(),
}

# What labels can still be asked for: a job that was held for want of them has ended, but its drift may not have.
ASKING: frozenset[JobStatus] = frozenset({JobStatus.WAITING_FOR_LABELS, JobStatus.HELD})

IN_FLIGHT: frozenset[JobStatus] = frozenset(status for status in JobStatus if not status.final)


def require_transition(before: JobStatus, after: JobStatus) -> None:
    """Raises IllegalTransition unless a job may change from `before` to `after`."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransition(f"A job cannot change from {before} to {after}.")


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What a job reads of a window that goes on growing.

    Attributes:
        until_seq: Ledger sequence number of the last sample.
        labels_until: When the last label arrived: epoch seconds of the database's clock.
    """

    until_seq: int
    labels_until: float


@dataclass(frozen=True, kw_only=True)
class AdaptationJob:
    """One attempt to adapt one model.

    Attributes:
        id: 32 hex digits.
        model: Name of the model.
        status: See `JobStatus`.
        cause: Why it was opened, e.g. {"kind": "drift", "report": ..., "actor": ...}.
        domain: Name under which the new domain's reference and examples are kept.
        window_from_seq: Ledger sequence number of the first sample that belongs to the window.
        window_until_seq, labels_until: See `extent`.
        worked_s: Seconds that workers have spent on it, to a third of a lease: one that was killed did not say.
        plan: What the worker decided to do, with reasons.
        progress: What the worker is doing now.
        missing: Labels that are missing, by part, while they are asked for: it waits for them, or was held.
        deadline_at: Epoch seconds until which it waits for labels.
        verdict: The gate's checks with value, bound, n and power.
        version: The version it made.
        reason: One line for people: why it ended as it did.
        lease_owner: Worker that holds the lease; None when nobody does.
        lease_token: Fencing token: grows by one with every claim, never shrinks.
        lease_expires_at: Epoch seconds of the database's clock.
        attempts: Times that it was claimed, but for those that ended with a worker that was stopped on purpose.
        created_at, started_at, finished_at: Epoch seconds of the database's clock.
    """

    id: str
    model: str
    status: JobStatus
    cause: dict[str, Any]
    domain: str
    window_from_seq: int
    window_until_seq: int | None = None
    labels_until: float | None = None
    worked_s: float = 0.0
    plan: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    missing: dict[str, int] | None = None
    deadline_at: float | None = None
    verdict: dict[str, Any] | None = None
    version: int | None = None
    reason: str = ""
    lease_owner: str | None = None
    lease_token: int = 0
    lease_expires_at: float | None = None
    attempts: int = 0
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None

    @property
    def asks(self) -> bool:
        """Whether labels are asked for."""
        return bool(self.missing) and self.status in ASKING

    @property
    def extent(self) -> Extent | None:
        """What it reads, fixed when it is first begun: whoever takes it over reads the same. None: not begun."""
        if self.window_until_seq is None or self.labels_until is None:
            return None
        return Extent(until_seq=self.window_until_seq, labels_until=self.labels_until)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to work on a job until it expires; a larger token of the same job makes it void."""

    job_id: str
    owner: str
    token: int
