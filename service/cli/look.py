"""Commands that only look: status, versions, events. They read the ledger, so nothing need be running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.completion import model_names
from service.cli.entry import open_ledger, settings_of
from service.cli.show import ago, brief, console, line_of, plain, print_table
from service.cli.watch import View, Watch, present

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from trimtab.drift import MonitorState
    from trimtab.ledger.replicas import ReplicaRow
    from trimtab.settings import Settings

Name = Annotated[str, typer.Argument(help="Name of the model.", autocompletion=model_names)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1, max=10_000)]
LOST_S = 60.0  # a replica that said nothing for so long is gone


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (status, versions, events):
        app.command()(command)


def status(ctx: typer.Context, as_json: AsJson = False, watch: Watch = False) -> None:
    """What is running, which models there are, what serves, and how they stand with their inputs."""
    settings = settings_of(ctx)
    present(lambda: _status(settings), as_json=as_json, watch=watch)


def versions(ctx: typer.Context, name: Name, as_json: AsJson = False, watch: Watch = False) -> None:
    """Every version of a model, what became of it, and which aliases point at it."""
    settings = settings_of(ctx)
    present(lambda: _versions(settings, name), as_json=as_json, watch=watch)


def events(
    ctx: typer.Context,
    after: Annotated[int, typer.Option(help="Only events with a larger number.")] = 0,
    as_json: AsJson = False,
    limit: Limit = 100,
    watch: Watch = False,
) -> None:
    """What happened, oldest first."""
    settings = settings_of(ctx)
    present(lambda: _events(settings, after, limit, newest=watch), as_json=as_json, watch=watch)


def _status(settings: Settings) -> View:
    from service.home import find_running
    from trimtab.ledger.consumers import live_workers
    from trimtab.ledger.jobs import claimable_jobs
    from trimtab.ledger.models import list_models
    from trimtab.ledger.replicas import list_replicas

    running = find_running(settings.home) if settings.home.exists() else None
    with open_ledger(settings) as ledger, ledger.read() as tx:
        models = [_model(tx, model.name) for model in list_models(tx)]
        replicas, waiting = list_replicas(tx), len(claimable_jobs(tx))
        workers = live_workers(tx, settings.training.queue)
    about = {"home": str(settings.home), "up": plain(running), "models": models, "replicas": replicas}
    live = [replica for replica in replicas if replica.age_s < LOST_S]
    warning = _nobody_takes(waiting, settings.training.queue) if waiting and not workers else ""
    where = f"up at {running.url} (pid {running.pid}" if running else _served_at(live)

    def show() -> None:
        started = f", started {ago(running.started_at)})" if running else ""
        console.print(f"{settings.home}: {where}{started}", highlight=False, soft_wrap=True)
        columns = ("model", "serving", "previous", "trial", "generation", "drift", "events", "alarms", "job")
        cells = [_model_cells(model) for model in models]
        print_table("Models", columns, cells, empty="No model yet: run `trimtab init`.")
        if warning:
            console.print(warning, highlight=False, soft_wrap=True)

    facts = (where + (")" if running else ""), *map(_model_fact, models), *([warning] if warning else []))
    return View(document=about | {"workers": workers, "jobs_waiting": waiting}, show=show, facts=facts)


def _served_at(live: Sequence[ReplicaRow]) -> str:
    """Where the API answers although no supervisor runs here."""
    if not live:
        return "not running"
    return f"no `trimtab up` here, but the API answers at {', '.join(sorted({each.url for each in live}))}"


def _nobody_takes(waiting: int, queue: str) -> str:
    some = "a job waits" if waiting == 1 else f"{waiting} jobs wait"
    return f"{some} and no worker takes from queue {queue!r}: start one by `trimtab worker`."


def _versions(settings: Settings, name: str) -> View:
    from trimtab.ledger.models import get_model
    from trimtab.ledger.versions import get_aliases, list_versions

    with open_ledger(settings) as ledger, ledger.read() as tx:
        get_model(tx, name)
        rows, aliases = list_versions(tx, name), get_aliases(tx, name)
    pointing = {row.n: sorted(alias for alias, n in aliases.items() if n == row.n) for row in rows}
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
    return View(
        document=[plain(row) | {"aliases": pointing[row.n]} for row in rows],
        show=lambda: print_table(f"Versions of {name}", columns, cells, empty="No version yet."),
        facts=tuple(
            line_of(f"{name} {row.n}", row.state, ", ".join(pointing[row.n]), row.reason) for row in rows
        ),
    )


def _events(settings: Settings, after: int, limit: int, *, newest: bool) -> View:
    """The first events after a number, or of those the newest: what is watched is what happens."""
    from trimtab.ledger.events import list_events, newest_events

    with open_ledger(settings) as ledger, ledger.read() as tx:
        found = newest_events(tx, limit=limit)[::-1] if newest else list_events(tx, after, limit)
    found = [event for event in found if event.seq > after]
    cells = [
        (event.seq, ago(event.at), event.kind, event.model, event.actor, brief(event.detail))
        for event in found
    ]
    columns = ("number", "when", "kind", "model", "by", "detail")
    return View(
        document=found,
        show=lambda: print_table("Events", columns, cells, empty="No event yet."),
        facts=tuple(
            line_of(event.seq, event.kind, event.model, f"by {event.actor}", brief(event.detail))
            for event in found
        ),
    )


def _model(tx: Connection, name: str) -> dict[str, Any]:
    """What there is to say about one model, as JSON has it."""
    from trimtab.drift import MonitorState
    from trimtab.ledger.jobs import in_flight
    from trimtab.ledger.models import get_model
    from trimtab.ledger.reports import load_state
    from trimtab.ledger.trials import open_trial
    from trimtab.ledger.versions import get_aliases

    state: MonitorState = load_state(tx, name) or MonitorState(model=name)
    job = in_flight(tx, name)
    model: dict[str, Any] = plain(get_model(tx, name))
    shown = replace(state, log_m=())
    about = {"drift": plain(shown), "job": plain(job), "trial": plain(open_trial(tx, name))}
    return model | get_aliases(tx, name) | about


def _model_cells(model: dict[str, Any]) -> tuple[Any, ...]:
    drift_state, job = model["drift"], model["job"]
    return (
        model["name"],
        model.get("champion"),
        model.get("previous"),
        trial_of(model["trial"]),
        model["generation"],
        drift_state["state"],
        drift_state["events_seen"],
        drift_state["alarms_total"],
        f"{job['id'][:8]} {job['status']}" if job else "",
    )


def _model_fact(model: dict[str, Any]) -> str:
    serving = f"version {model['champion']} serves" if "champion" in model else "nothing serves"
    job = f"job {model['job']['id'][:8]} {model['job']['status']}" if model["job"] else ""
    drift = f"drift {model['drift']['state']}"
    return line_of(f"{model['name']}: {serving}", trial_of(model["trial"]), drift, job)


def trial_of(trial: Mapping[str, Any] | None) -> str:
    """Which version is on trial, and how far it is."""
    if trial is None:
        return ""
    share = f" {trial['share']:.0%}" if trial["share"] else ""
    return f"version {trial['version']} {trial['stage']}{share}"
