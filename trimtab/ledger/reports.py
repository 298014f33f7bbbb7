"""Drift reports and the monitor's state, so that a restarted monitor goes on where the last one stopped."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, Row, delete, select, update

from trimtab.drift import DriftReport, DriftState, MonitorState
from trimtab.errors import NothingToAcknowledge, ReportNotFound
from trimtab.ledger.clock import db_now, now
from trimtab.ledger.events import record_event
from trimtab.ledger.schema import drift_reports, monitor_state
from trimtab.ledger.upsert import insert_into


def save_report(tx: Connection, report: DriftReport) -> bool:
    """Keep a report; False when one of this id is kept already."""
    row = {"id": report.id, "model": report.model, "version": report.version, "created_at": report.created_at}
    statement = insert_into(tx, drift_reports).values(**row, body=report.to_json(), job_id=report.job_id)
    statement = statement.on_conflict_do_nothing(index_elements=["id"])
    return tx.execute(statement.returning(drift_reports.c.seq)).one_or_none() is not None


def set_report_job(tx: Connection, report_id: str, job_id: str) -> None:
    """Name the job that a report opened; raises ReportNotFound."""
    statement = update(drift_reports).where(drift_reports.c.id == report_id).values(job_id=job_id)
    if tx.execute(statement).rowcount != 1:
        raise ReportNotFound(f"There is no drift report {report_id}.")


def get_report(tx: Connection, report_id: str) -> DriftReport:
    """The report; raises ReportNotFound."""
    columns = (drift_reports.c.body, drift_reports.c.job_id)
    row = tx.execute(select(*columns).where(drift_reports.c.id == report_id)).one_or_none()
    if row is None:
        raise ReportNotFound(f"There is no drift report {report_id}.")
    return _report(row)


def list_reports(tx: Connection, model: str, limit: int = 50, after: str | None = None) -> list[DriftReport]:
    """The newest reports first; `after` a report's id: the page that follows it (older ones). Raises ReportNotFound."""
    query = select(drift_reports.c.body, drift_reports.c.job_id).where(drift_reports.c.model == model)
    if after is not None:
        query = query.where(drift_reports.c.seq < _seq(tx, after))
    rows = tx.execute(query.order_by(drift_reports.c.seq.desc()).limit(limit)).all()
    return [_report(row) for row in rows]


def save_state(tx: Connection, state: MonitorState) -> None:
    """Keep the monitor's state of a model, in place of the one before."""
    statement = insert_into(tx, monitor_state).values(
        model=state.model, body=state.to_json(), saved_at=db_now()
    )
    changed = {"body": statement.excluded.body, "saved_at": statement.excluded.saved_at}
    tx.execute(statement.on_conflict_do_update(index_elements=["model"], set_=changed))


def load_state(tx: Connection, model: str, *, lock: bool = False) -> MonitorState | None:
    """The monitor's state of a model, if one was saved; `lock`: nobody else saves one before this transaction ends."""
    query = select(monitor_state.c.body).where(monitor_state.c.model == model)
    if lock:
        query = query.with_for_update()  # SQLite has one writer at a time anyway
    body = tx.execute(query).scalar_one_or_none()
    return None if body is None else MonitorState.from_json(body)


def acknowledge(tx: Connection, model: str, actor: str) -> MonitorState:
    """An operator accepts the present drift: no job until it grows or proves harmful (`policy.why_not`).

    Nothing is absorbed: the references stay as they are, and reports go on.

    Raises:
        NothingToAcknowledge: there is no confirmed alarm.
    """
    state = load_state(tx, model, lock=True)
    if state is None or not state.in_alarm:
        raise NothingToAcknowledge
    accepted = replace(
        state,
        acknowledged_ratio=state.size,
        acknowledged_harm=state.harmful,
        state=DriftState.ACKNOWLEDGED,
        since=now(tx),
        detail=f"Accepted by {actor} at {state.size:.2f} times the threshold.",
    )
    save_state(tx, accepted)
    record_event(tx, "drift_acknowledged", model, {"ratio": state.size, "kind": state.kind}, actor)
    return accepted


def expire_reports(tx: Connection, older_than_s: float, limit: int = 5_000) -> int:
    """Delete up to `limit` reports made longer ago that opened no job; returns how many. Call it again."""
    old = select(drift_reports.c.seq).where(
        drift_reports.c.created_at < now(tx) - older_than_s, drift_reports.c.job_id.is_(None)
    )
    return tx.execute(delete(drift_reports).where(drift_reports.c.seq.in_(old.limit(limit)))).rowcount


def _seq(tx: Connection, report_id: str) -> int:
    seq = tx.execute(select(drift_reports.c.seq).where(drift_reports.c.id == report_id)).scalar_one_or_none()
    if seq is None:
        raise ReportNotFound(f"There is no drift report {report_id}.")
    return int(seq)


def _report(row: Row[str, str | None]) -> DriftReport:
    return replace(DriftReport.from_json(row.body), job_id=row.job_id)
