"""GET /v1/drift: what the monitor says; and an operator's answer to it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.deps import CallDep, ServingDep
from service.drift_view import brief_report, full_report
from service.problems import declared
from service.schemas import Arm, DriftReference, DriftStatus, ReportList, WatchInfo
from trimtab.drift import MonitorState
from trimtab.errors import ReportNotFound
from trimtab.ledger.models import get_model
from trimtab.ledger.reports import acknowledge, get_report, list_reports, load_state

router = APIRouter()


@router.get("/v1/drift/{model}", tags=["drift"], responses=declared(404, 503))
def drift(model: str, serving: ServingDep) -> DriftStatus:
    """Where the model stands with its inputs."""
    with serving.ledger.read() as tx:
        row = get_model(tx, model)
        state = load_state(tx, model) or MonitorState(model=model, since=row.created_at)
    return _status(state)


@router.get("/v1/drift/{model}/reports", tags=["drift"], responses=declared(404, 503))
def drift_reports(
    model: str,
    serving: ServingDep,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(max_length=64, description="id of the last report you have")] = None,
) -> ReportList:
    """Reports of every check, newest first, without their evidence; `after` continues with older ones."""
    with serving.ledger.read() as tx:
        get_model(tx, model)
        return ReportList(reports=[brief_report(report) for report in list_reports(tx, model, limit, after)])


@router.get("/v1/drift/{model}/reports/{report_id}", tags=["drift"], responses=declared(404, 503))
def drift_report(model: str, report_id: str, serving: ServingDep) -> dict[str, Any]:
    """One report, whole: statistics, kind, harm, features before and after, typical inputs, the job it opened."""
    with serving.ledger.read() as tx:
        get_model(tx, model)
        report = get_report(tx, report_id)
        if report.model != model:
            raise ReportNotFound
        return full_report(tx, report)


@router.post(
    "/admin/v1/models/{model}/drift/acknowledge", tags=["operate"], responses=declared(404, 409, 503)
)
def acknowledge_drift(model: str, serving: ServingDep, call: CallDep) -> DriftStatus:
    """Accept the present drift: no job for it until it grows by a quarter. Nothing is learnt from it."""
    with serving.ledger.begin() as tx:
        get_model(tx, model)
        return _status(acknowledge(tx, model, call.client))


def _status(state: MonitorState) -> DriftStatus:
    return DriftStatus(
        model=state.model,
        state=state.state,
        kind=state.kind,
        severity=state.severity,
        since=state.since,
        events_seen=state.events_seen,
        alarms_total=state.alarms_total,
        arms=[Arm(name=arm.name, statistic=arm.statistic, threshold=arm.threshold) for arm in state.arms],
        reference=DriftReference(version=state.version, domains=list(state.reference_domains)),
        watch=WatchInfo.model_validate(vars(state.watch)) if state.watch else None,
        detail=state.detail or state.state.meaning,
    )
