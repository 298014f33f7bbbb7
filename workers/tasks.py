"""The one Celery task."""

from __future__ import annotations

from workers.app import TASK, app, configured_settings
from workers.run_job import run_job
from workers.worker import stopping


@app.task(name=TASK)
def adapt(job_id: str) -> None:
    """Runs the job of this id, unless somebody else does."""
    run_job(job_id, configured_settings(), stopping)
