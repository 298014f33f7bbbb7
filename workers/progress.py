"""How far a long piece of work is: told by `report(stage, step, of)`, written into the job at most once a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trimtab.errors import LedgerUnavailable
from trimtab.jobs import AdaptationJob, Lease
from trimtab.ledger import Ledger
from trimtab.ledger.clock import now as db_now
from trimtab.ledger.jobs import fix_steps, set_progress

Report = Callable[[str, int, int], None]
MIN_INTERVAL_S = 1.0
_log = logging.getLogger(__name__)


def silent(stage: str, step: int, of: int) -> None:
    """Tells nobody."""


class JobProgress:
    """Writes stage, step, of and eta_s into the job. Raises LeaseLost, which ends a trainer that nobody waits for.

    `stages` are those of this attempt in their order: `at` is when one began, in epoch seconds of the database's clock,
    and `cpu_s` the processor time that the process had used by then.
    """

    def __init__(self, ledger: Ledger, lease: Lease, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._lease, self._clock = ledger, lease, clock
        self._stage, self._stage_began = "", 0.0
        self._written_at = float("-inf")
        self._stages: list[dict[str, Any]] = []

    def __call__(self, stage: str, step: int, of: int) -> None:
        now = self._clock()
        new_stage = stage != self._stage
        if new_stage:
            self._stage, self._stage_began = stage, now
        if not new_stage and step < of and now - self._written_at < MIN_INTERVAL_S:
            return
        self._written_at = now
        eta_s = None if step == 0 else round((now - self._stage_began) / step * (of - step), 1)
        told = {"stage": stage, "step": step, "of": of, "eta_s": eta_s}
        # A ledger that is away for a moment ends no training.
        with suppress(LedgerUnavailable), self._ledger.begin() as tx:
            if new_stage:
                began = {"stage": stage, "at": db_now(tx), "cpu_s": round(time.process_time(), 3)}
                self._stages.append(began)
            set_progress(tx, self._lease, told | {"stages": self._stages})


@dataclass(frozen=True)
class Stage:
    """A stage of a job: times in epoch seconds, processor time in seconds, None where nobody noted it."""

    name: str
    began_at: float
    ended_at: float
    cpu_s: float | None


def stages_of(job: AdaptationJob) -> tuple[Stage, ...]:
    """The stages of a job's last attempt, one after the other; the last one ends with the job."""
    told = (job.progress or {}).get("stages", [])
    ends = [(each["at"], each["cpu_s"]) for each in told[1:]]
    ends.append((job.finished_at or job.created_at, None))
    return tuple(
        Stage(each["stage"], each["at"], end, None if cpu is None else round(cpu - each["cpu_s"], 3))
        for each, (end, cpu) in zip(told, ends, strict=False)
    )


@dataclass(frozen=True)
class StepsInPlan:
    """Keeps the number of steps of each fit in the job's plan: the same for whoever takes the job over."""

    ledger: Ledger
    lease: Lease

    def __call__(self, fit: str, steps: int) -> int:
        """What the plan says, or says from now on. Raises LeaseLost."""
        try:
            with self.ledger.begin() as tx:
                return fix_steps(tx, self.lease, fit, steps)
        except LedgerUnavailable as error:
            _log.warning("steps are in the checkpoint only: %s", error, extra={"job": self.lease.job_id})
            return steps
