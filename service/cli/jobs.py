"""`trimtab jobs`: adaptation jobs, and how to cancel one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.completion import model_names_or_cancel, open_jobs
from service.cli.entry import open_ledger, settings_of
from service.cli.look import AsJson, Limit, trial_of
from service.cli.show import ago, brief, console, line_of, plain, print_json, print_table
from service.cli.watch import View, Watch, present

if TYPE_CHECKING:
    from trimtab.jobs import AdaptationJob
    from trimtab.settings import Settings
    from trimtab.trial import Trial

ACTOR = "command line"
Words = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME | cancel ID]",
        help="Only of this model; or cancel the job with this id, of which 8 characters are enough.",
        autocompletion=model_names_or_cancel,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(jobs)


def jobs(
    ctx: typer.Context,
    first: Words = None,
    second: Annotated[str | None, typer.Argument(metavar="", hidden=True, autocompletion=open_jobs)] = None,
    as_json: AsJson = False,
    limit: Limit = 20,
    watch: Watch = False,
) -> None:
    """Adaptation jobs, newest first; `cancel ID` ends one that has not ended."""
    settings = settings_of(ctx)
    if second is None:
        present(lambda: _jobs(settings, first, limit), as_json=as_json, watch=watch)
    elif first == "cancel":
        _cancel(settings, second, as_json=as_json)
    else:
        raise typer.BadParameter(f"{first!r} is not what jobs can do: `trimtab jobs cancel ID`")


def _jobs(settings: Settings, name: str | None, limit: int) -> View:
    from trimtab.ledger.jobs import list_jobs
    from trimtab.ledger.models import get_model
    from trimtab.ledger.trials import open_trials

    with open_ledger(settings) as ledger, ledger.read() as tx:
        if name is not None:
            get_model(tx, name)
        found = list_jobs(tx, name, limit=limit)
        tried = {trial.job_id or "": trial for trial in open_trials(tx).values()}
    columns = ("job", "model", "status", "cause", "version", "opened", "attempts", "what")
    return View(
        document=found,
        show=lambda: print_table(
            "Jobs, newest first", columns, map(partial(_cells, tried=tried), found), empty="No job yet."
        ),
        facts=tuple(
            line_of(
                job.id[:8], job.model, job.status, job.version and f"version {job.version}", _what(job, tried)
            )
            for job in found
        ),
    )


def _cancel(settings: Settings, job_id: str, *, as_json: bool) -> None:
    from trimtab.ledger.jobs import cancel, find_job

    with open_ledger(settings) as ledger, ledger.begin() as tx:
        before = find_job(tx, job_id)
        job = cancel(tx, before.id, actor=ACTOR)
    if as_json:
        print_json(job)
        return
    told = f"had already ended: {job.status}" if before.status.final else f"is {job.status}"
    console.print(f"{job.model}: job {job.id} {told}.", highlight=False, soft_wrap=True)


def _cells(job: AdaptationJob, tried: Mapping[str, Trial]) -> tuple[Any, ...]:
    cause = job.cause.get("kind", "")
    opened = ago(job.created_at)
    return (job.id[:8], job.model, job.status, cause, job.version, opened, job.attempts, _what(job, tried))


def _what(job: AdaptationJob, tried: Mapping[str, Trial]) -> str:
    """tried: the open trials by the job that made their version."""
    if trial := tried.get(job.id):
        return line_of(trial_of(plain(trial)), trial.reason)
    missing = f"missing labels: {brief(job.missing)}" if job.missing else ""
    return job.reason or missing or brief(_now(job))


def _now(job: AdaptationJob) -> dict[str, Any]:
    """What the worker does, without what it did before."""
    return {name: value for name, value in (job.progress or {}).items() if name != "stages"}
