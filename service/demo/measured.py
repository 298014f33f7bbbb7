"""Everything that a run of the demo measured: filled chapter by chapter, judged and shown at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from service.demo.probe import Purity
from service.replay import Sent


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """A version on the test rows of a domain, asked through the API; balanced and plain accuracy in [0, 1]."""

    version: int
    domain: str
    n: int
    balanced: float
    plain: float


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """How many of n single-item answers after the rollback equal those of the same version before, bit for bit."""

    version: int
    n: int
    equal: int
    seconds: float


@dataclass
class Measured:
    """One run.

    Attributes:
        further: Domains of `--full` after tweets.
        segments: Index in `sent` at which each stretch of traffic began.
        in_domain_alarms, in_domain_crossings: Confirmed alarms and checks above a threshold at home.
        detected_after: By domain, events between its first one and the check that opened a job.
        jobs: By domain, the job that it opened, as the API showed it last.
        n_answers: Requests for predictions, of all clients.
    """

    seed: int
    full: bool
    further: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    budget: dict[str, dict[str, int]] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    segments: dict[str, int] = field(default_factory=dict)
    in_domain_events: int = 0
    in_domain_alarms: int = 0
    in_domain_crossings: int = 0
    detected_after: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs_on_return: int = 0
    return_events: int = 0
    n_answers: int = 0
    failures: list[str] = field(default_factory=list)
    purity: Purity | None = None
    accuracies: list[Accuracy] = field(default_factory=list)
    rollback: Rollback | None = None
    reports: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    left_over: list[str] = field(default_factory=list)

    def job_of(self, domain: str) -> dict[str, Any] | None:
        """The job that this domain opened, as the API showed it last."""
        return self.jobs.get(domain)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time that passes to a stage's seconds."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - started, 2)
