"""How far a long piece of work is: told by `report(stage, step, of)`, written into the job at most once a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from trimtab.errors import LedgerUnavailable
from trimtab.jobs import Lease
from trimtab.ledger import Ledger
from trimtab.ledger.jobs import fix_steps, set_progress

Report = Callable[[str, int, int], None]
MIN_INTERVAL_S = 1.0
_log = logging.getLogger(__name__)


def silent(stage: str, step: int, of: int) -> None:
    """Tells nobody."""


class JobProgress:
    """Writes stage, step, of and eta_s into the job. Raises LeaseLost, which ends a trainer that nobody waits for."""

    def __init__(self, ledger: Ledger, lease: Lease, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._lease, self._clock = ledger, lease, clock
        self._stage, self._stage_began = "", 0.0
        self._written_at = float("-inf")

    def __call__(self, stage: str, step: int, of: int) -> None:
        now = self._clock()
        new_stage = stage != self._stage
        if new_stage:
            self._stage, self._stage_began = stage, now
        if not new_stage and step < of and now - self._written_at < MIN_INTERVAL_S:
            return
        self._written_at = now
        eta_s = None if step == 0 else round((now - self._stage_began) / step * (of - step), 1)
        with (
            suppress(LedgerUnavailable),
            self._ledger.begin() as tx,
        ):  # a ledger away for a moment ends no training
            set_progress(tx, self._lease, {"stage": stage, "step": step, "of": of, "eta_s": eta_s})


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
