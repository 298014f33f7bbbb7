"""Commands that only look: status, versions, jobs, events. They read the ledger, so nothing need be running."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.entry import open_ledger, settings_of
from service.cli.show import ago, console, plain, print_json, print_table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from trimtab.drift import MonitorState
    from trimtab.jobs import AdaptationJob

Name = Annotated[str, typer.Argument(help="Name of the model.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1, max=10_000)]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (status, versions, jobs, events):
        app.command()(command)


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """What is running, which models there are, what serves, and how they stand with their inputs."""
    from service.home import find_running
    from trimtab.ledger.consumers import live_workers
    from trimtab.ledger.jobs import claimable_jobs
    from trimtab.ledger.models import list_models
    from trimtab.ledger.replicas import list_replicas

    settings = settings_of(ctx)
    queue = settings.training.queue
    running = find_running(settings.home) if settings.home.exists() else None
    with open_ledger(settings) as ledger, ledger.read() as tx:
        models = [_model(tx, model.name) for model in list_models(tx)]
        replicas, workers, waiting = list_replicas(tx), live_workers(tx, queue), len(claimable_jobs(tx))
    if as_json:
        about = {"home": str(settings.home), "up": plain(running), "models": models, "replicas": replicas}
        print_json(about | {"workers": workers, "jobs_waiting": waiting})
        return
    where = (
        f"up at {running.url} (pid {running.pid}, started {ago(running.started_at)})"
        if running
        else "not running"
    )
    console.print(f"{settings.home}: {where}", highlight=False)
    columns = ("model", "serving", "previous", "generation", "drift", "events", "alarms", "job")
    print_table(
        "Models",
        columns,
        [_model_cells(model) for model in models],
        empty="No model yet: run `trimtab init`.",
    )
    if waiting and not workers:
        some = "a job waits" if waiting == 1 else f"{waiting} jobs wait"
        console.print(f"{some} and no worker takes from queue {queue!r}: start one by `trimtab worker`.")


def versions(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Every version of a model, what became of it, and which aliases point at it."""
    from trimtab.ledger.versions import get_aliases, list_versions

    with open_ledger(settings_of(ctx)) as ledger, ledger.read() as tx:
        from trimtab.ledger.models import get_model

        get_model(tx, name)
        rows, aliases = list_versions(tx, name), get_aliases(tx, name)
    pointing = {row.n: sorted(alias for alias, n in aliases.items() if n == row.n) for row in rows}
    if as_json:
        print_json([plain(row) | {"aliases": pointing[row.n]} for row in rows])
        return
    cells = [
        (
            row.n,
            row.state,
            ", ".join(pointing[row.n]),
            row.parent,
            ago(row.created_at),
            (row.digest or "")[:16],
            row.reason,
        )
        for row in rows
    ]
    columns = ("version", "state", "aliases", "parent", "made", "digest", "reason")
    print_table(f"Versions of {name}", columns, cells, empty="No version yet.")


def jobs(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Only of this model.")] = None,
    as_json: AsJson = False,
    limit: Limit = 20,
) -> None:
    """Adaptation jobs, newest first."""
    from trimtab.ledger.jobs import list_jobs
    from trimtab.ledger.models import get_model

    with open_ledger(settings_of(ctx)) as ledger, ledger.read() as tx:
        if name is not None:
            get_model(tx, name)
        found = list_jobs(tx, name, limit=limit)
    if as_json:
        print_json(found)
        return
    columns = ("job", "model", "status", "cause", "version", "opened", "attempts", "what")
    print_table("Jobs, newest first", columns, map(_job_cells, found), empty="No job yet.")


def events(
    ctx: typer.Context,
    after: Annotated[int, typer.Option(help="Only events with a larger number.")] = 0,
    as_json: AsJson = False,
    limit: Limit = 100,
) -> None:
    """What happened, oldest first."""
    from trimtab.ledger.events import list_events

    with open_ledger(settings_of(ctx)) as ledger, ledger.read() as tx:
        found = list_events(tx, after, limit)
    if as_json:
        print_json(found)
        return
    cells = [
        (event.seq, ago(event.at), event.kind, event.model, event.actor, _brief(event.detail))
        for event in found
    ]
    print_table("Events", ("number", "when", "kind", "model", "by", "detail"), cells, empty="No event yet.")


def _model(tx: Connection, name: str) -> dict[str, Any]:
    """What there is to say about one model, as JSON has it."""
    from trimtab.drift import MonitorState
    from trimtab.ledger.jobs import in_flight
    from trimtab.ledger.models import get_model
    from trimtab.ledger.reports import load_state
    from trimtab.ledger.versions import get_aliases

    state: MonitorState = load_state(tx, name) or MonitorState(model=name)
    job = in_flight(tx, name)
    model: dict[str, Any] = plain(get_model(tx, name))
    shown = replace(state, log_m=())
    return model | get_aliases(tx, name) | {"drift": plain(shown), "job": plain(job)}


def _model_cells(model: dict[str, Any]) -> tuple[Any, ...]:
    drift_state, job = model["drift"], model["job"]
    return (
        model["name"],
        model.get("champion"),
        model.get("previous"),
        model["generation"],
        drift_state["state"],
        drift_state["events_seen"],
        drift_state["alarms_total"],
        f"{job['id'][:8]} {job['status']}" if job else "",
    )


def _job_cells(job: AdaptationJob) -> tuple[Any, ...]:
    missing = f"missing labels: {_brief(job.missing)}" if job.missing else ""
    what = job.reason or missing or _brief(job.progress or {})
    cause = job.cause.get("kind", "")
    return (job.id[:8], job.model, job.status, cause, job.version, ago(job.created_at), job.attempts, what)


def _brief(detail: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items() if value not in (None, "", {}, []))
