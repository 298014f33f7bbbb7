"""Opening an adaptation by hand or by an alert: the job in the ledger first, then a nudge to the queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from monitoring.policy import Rules, why_not
from trimtab.drift import MonitorState
from trimtab.errors import Conflict, QueueUnavailable
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.labels import labels_missing
from trimtab.ledger.clock import now
from trimtab.ledger.given import Given, keep_given
from trimtab.ledger.jobs import in_flight, open_job
from trimtab.ledger.models import get_model
from trimtab.ledger.reports import load_state
from trimtab.ledger.samples import last_seq
from trimtab.settings import Settings

Nudge = Callable[[str], None]
_log = logging.getLogger(__name__)


def open_adaptation(
    tx: Connection,
    settings: Settings,
    model: str,
    *,
    cause: Mapping[str, Any],
    domain: str = "",
    from_seq: int | None = None,
    given: Sequence[Given] = (),
) -> AdaptationJob:
    """A job that is queued, or waits for the labels that are missing.

    Args:
        domain: the new domain's name; the worker finds one for "".
        from_seq: first sample of the window; default where the monitor saw a change, else where the champion began.
        given: labelled rows to adapt to instead of the traffic: nothing is waited for.

    Raises:
        ModelNotFound, JobInFlight.
    """
    get_model(tx, model)
    if given:
        start = last_seq(tx) + 1 if from_seq is None else from_seq
        job = open_job(tx, model, cause=cause, domain=domain, window_from_seq=start)
        keep_given(tx, model, job.id, given)
        return job
    start = _window_start(load_state(tx, model)) if from_seq is None else from_seq
    missing = labels_missing(tx, model, start, settings.training, cause)
    return open_job(
        tx,
        model,
        cause=cause,
        domain=domain,
        window_from_seq=start,
        status=JobStatus.WAITING_FOR_LABELS if missing else JobStatus.QUEUED,
        missing=missing or None,
        deadline_at=now(tx) + settings.policy.label_deadline_s if missing else None,
    )


def open_by_alert(
    tx: Connection, settings: Settings, model: str, cause: Mapping[str, Any]
) -> AdaptationJob | str:
    """The job that an alert opens, or what stands against one, by the monitor's own rules. Raises ModelNotFound."""
    get_model(tx, model)
    state = load_state(tx, model) or MonitorState(model=model)
    hindrance = why_not(
        state, now=now(tx), in_flight=in_flight(tx, model), rules=Rules.of(settings.drift, settings.policy)
    )
    if hindrance is not None:
        return hindrance.reason
    try:
        return open_adaptation(tx, settings, model, cause=cause)
    except Conflict as error:
        return str(error)


def tell_workers(nudge: Nudge, job: AdaptationJob) -> None:
    """Nudges the queue about a queued job; when the queue is away, the monitor does it again later."""
    if job.status is not JobStatus.QUEUED:
        return
    try:
        nudge(job.id)
    except QueueUnavailable as error:
        _log.warning("job %s is queued, but nobody was told yet: %s", job.id, error)


def _window_start(state: MonitorState | None) -> int:
    if state is None:
        return 1
    return state.change_from_seq or state.after_seq + 1
