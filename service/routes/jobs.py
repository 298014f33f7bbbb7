"""Adaptation jobs: open one, look, cancel; and the webhook by which Alertmanager opens one."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from service.adapting import open_adaptation, open_by_alert, tell_workers
from service.deps import CallDep, ServingDep
from service.problems import declared
from service.schemas import AdaptOrder, JobInfo, JobList
from trimtab.errors import ModelNotFound
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import jobs, versions
from trimtab.ledger.models import get_model

router = APIRouter(prefix="/admin/v1", tags=["operate"])
ALERTS = ("TrimtabDriftDetected", "TrimtabDriftHarmful")


class Alert(BaseModel):
    """One alert of Alertmanager's webhook."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    fingerprint: str = Field("", max_length=64)


class AlertGroup(BaseModel):
    """Alertmanager's webhook, version 4; members that are not named here are ignored."""

    alerts: list[Alert] = Field(max_length=1000)


class AlertOutcome(BaseModel):
    """What an alert led to: a job, or why none was opened."""

    alert: str
    model: str | None
    job: str | None = None
    reason: str | None = None


class AlertOutcomes(BaseModel):
    """One entry for each alert, in order."""

    outcomes: list[AlertOutcome]


@router.post("/models/{model}/adapt", status_code=202, responses=declared(400, 404, 409, 503))
def adapt(model: str, serving: ServingDep, call: CallDep, order: AdaptOrder | None = None) -> JobInfo:
    """Open an adaptation now, past cooldown and drift; it waits for labels where they are missing."""
    order = order or AdaptOrder(reason="", domain=None, from_seq=None)
    cause = {"kind": "manual", "actor": call.client, "reason": order.reason}
    with serving.ledger.begin() as tx:
        job = open_adaptation(
            tx, serving.settings, model, cause=cause, domain=order.domain or "", from_seq=order.from_seq
        )
    tell_workers(serving.nudge, job)
    return _info(job, None)


@router.get("/jobs", responses=declared(503))
def list_jobs(
    serving: ServingDep,
    model: str | None = None,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> JobList:
    """Jobs, newest first."""
    with serving.ledger.read() as tx:
        return JobList(jobs=[_info(job, None) for job in jobs.list_jobs(tx, model, status, limit)])


@router.get("/jobs/{job_id}", responses=declared(404, 503))
def get_job(job_id: str, serving: ServingDep) -> JobInfo:
    """One job, by its id or the first 8 characters of it: why, what it does, what the gate said."""
    with serving.ledger.read() as tx:
        job = jobs.find_job(tx, job_id)
        made = versions.get_version(tx, job.model, job.version) if job.version is not None else None
    return _info(job, made.gate if made else None)


@router.post("/jobs/{job_id}/cancel", responses=declared(404, 503))
def cancel_job(job_id: str, serving: ServingDep, call: CallDep) -> JobInfo:
    """Cancel a job that has not ended, by its id or the first 8 characters of it; one that has ended stays as it is."""
    with serving.ledger.begin() as tx:
        return _info(jobs.cancel(tx, jobs.find_job(tx, job_id).id, actor=call.client), None)


@router.post("/alerts", responses=declared(400, 503))
def take_alerts(group: AlertGroup, serving: ServingDep) -> AlertOutcomes:
    """Alertmanager's webhook: a firing drift alert opens an adaptation, under the same rules as the monitor's own."""
    outcomes = [_take_alert(alert, serving) for alert in group.alerts]
    return AlertOutcomes(outcomes=outcomes)


def _take_alert(alert: Alert, serving: ServingDep) -> AlertOutcome:
    name, model = alert.labels.get("alertname", ""), alert.labels.get("model")
    outcome = AlertOutcome(alert=name[:128], model=model and model[:128])
    if alert.status != "firing" or name not in ALERTS or model is None:
        outcome.reason = "ignored: only a firing drift alert with a `model` label opens an adaptation"
        return outcome
    cause = {"kind": "alert", "alert": name, "fingerprint": alert.fingerprint}
    try:
        with serving.ledger.begin() as tx:
            get_model(tx, model)
            opened = open_by_alert(tx, serving.settings, model, cause)
    except ModelNotFound as error:
        outcome.reason = str(error)
        return outcome
    if isinstance(opened, str):
        outcome.reason = opened
        return outcome
    tell_workers(serving.nudge, opened)
    outcome.job = opened.id
    return outcome


def _info(job: AdaptationJob, gate: dict[str, object] | None) -> JobInfo:
    shown = {name: getattr(job, name) for name in JobInfo.model_fields if name not in {"gate", "meaning"}}
    return JobInfo(**shown, meaning=job.status.meaning, gate=gate)
