"""What changes without an event: one small value a model that differs as soon as a page about it is out of date."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from trimtab.jobs import IN_FLIGHT
from trimtab.ledger.models import generations
from trimtab.ledger.schema import drift_reports, jobs
from trimtab.ledger.trials import open_trials


def pulse(tx: Connection) -> dict[str, dict[str, Any]]:
    """{model: {generation, report, job, trial}}: number of the newest check, the job in flight with its progress, and
    how a trial stands, in words.
    """
    newest = func.max(drift_reports.c.seq).label("newest")
    by_model = select(drift_reports.c.model, newest).group_by(drift_reports.c.model)
    reports = {row.model: row.newest for row in tx.execute(by_model)}
    columns = (jobs.c.model, jobs.c.id, jobs.c.status, jobs.c.progress, jobs.c.missing)
    open_jobs = tx.execute(select(*columns).where(jobs.c.status.in_(sorted(IN_FLIGHT)))).mappings()
    under_way = {job["model"]: {key: job[key] for key in job if key != "model"} for job in open_jobs}
    tried = {model: trial.reason for model, trial in open_trials(tx).items()}
    return {
        model: {
            "generation": generation,
            "report": reports.get(model, 0),
            "job": under_way.get(model),
            "trial": tried.get(model),
        }
        for model, generation in generations(tx).items()
    }
