"""GET /v1/drift: what the monitor says."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.deps import ServingDep
from service.problems import declared
from service.schemas import Arm, DriftReference, DriftStatus, ReportList
from trimtab.drift import DriftReport, MonitorState
from trimtab.errors import ReportNotFound
from trimtab.ledger.models import get_model
from trimtab.ledger.reports import get_report, list_reports, load_state

router = APIRouter(prefix="/v1/drift", tags=["drift"])


@router.get("/{model}", responses=declared(404, 503))
def drift(model: str, serving: ServingDep) -> DriftStatus:
    """Where the model stands with its inputs."""
    with serving.ledger.read() as tx:
        row = get_model(tx, model)
        state = load_state(tx, model) or MonitorState(model=model, since=row.created_at)
    return DriftStatus(
        model=model,
        state=state.state,
        kind=state.kind,
        severity=state.severity,
        since=state.since,
        events_seen=state.events_seen,
        alarms_total=state.alarms_total,
        arms=[Arm(name=arm.name, statistic=arm.statistic, threshold=arm.threshold) for arm in state.arms],
        reference=DriftReference(version=state.version, domains=list(state.reference_domains)),
        detail=state.detail or state.state.meaning,
    )


@router.get("/{model}/reports", responses=declared(404, 503))
def drift_reports(
    model: str,
    serving: ServingDep,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(max_length=64, description="id of the last report you have")] = None,
) -> ReportList:
    """Reports of every check, newest first; `after` continues with older ones."""
    with serving.ledger.read() as tx:
        get_model(tx, model)
        return ReportList(reports=[_plain(report) for report in list_reports(tx, model, limit, after)])


@router.get("/{model}/reports/{report_id}", responses=declared(404, 503))
def drift_report(model: str, report_id: str, serving: ServingDep) -> dict[str, Any]:
    """One report: statistics, the features that moved, the explanation, the job that it opened."""
    with serving.ledger.read() as tx:
        get_model(tx, model)
        report = get_report(tx, report_id)
    if report.model != model:
        raise ReportNotFound
    return _plain(report)


def _plain(report: DriftReport) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(report.to_json())
    return plain
