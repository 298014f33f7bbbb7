"""Commands that run until they are stopped: everything on one machine, or one process each for compose and k8s."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.entry import open_ledger, settings_of
from service.cli.show import console, print_table

if TYPE_CHECKING:
    from service.home import Running
    from trimtab.settings import Settings

ReadyFile = Annotated[
    Path | None, typer.Option(help="File that gets this process's id when it is ready.", hidden=True)
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (up, serve, worker, monitor, migrate):
        app.command()(command)


def up(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Else TRIMTAB_SERVER__HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Else TRIMTAB_SERVER__PORT.")] = None,
) -> None:
    """Everything on this machine: Valkey, API, worker and monitor. Ctrl-C stops all."""
    from service.supervise import run_up

    settings = settings_of(ctx)
    named = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"server": settings.server.model_copy(update=named)})

    raise typer.Exit(run_up(settings, _say, lambda running: _show_ready(settings, running)))


def serve(
    ctx: typer.Context,
    workers: Annotated[int | None, typer.Option(help="Else TRIMTAB_SERVER__WORKERS.", min=1)] = None,
) -> None:
    """The API alone, in one process or several."""
    from service.serve import run_server

    settings = settings_of(ctx)
    server = settings.server if workers is None else settings.server.model_copy(update={"workers": workers})
    run_server(settings.model_copy(update={"server": server}))


def worker(ctx: typer.Context, ready_file: ReadyFile = None) -> None:
    """A worker alone: waits for adaptation jobs and trains."""
    from service.parts import write_ready
    from trimtab.logs import set_up_logs
    from workers.worker import run_worker

    set_up_logs("worker")
    raise typer.Exit(run_worker(settings_of(ctx), lambda: write_ready(ready_file) if ready_file else None))


def monitor(ctx: typer.Context, ready_file: ReadyFile = None) -> None:
    """The monitor alone: watches the inputs and opens adaptation jobs."""
    from monitoring.monitor import run_monitor
    from service.parts import write_ready
    from trimtab.logs import set_up_logs
    from workers.app import configure, nudge

    settings = settings_of(ctx)
    set_up_logs("monitor")
    configure(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    run_monitor(settings, nudge, stop, lambda: write_ready(ready_file) if ready_file else None)


def migrate(
    ctx: typer.Context,
    create_keys: Annotated[bool, typer.Option(help="Also make the signing keys, if there are none.")] = False,
) -> None:
    """Create or upgrade the ledger's schema."""
    from trimtab import adapter

    settings = settings_of(ctx)
    with open_ledger(settings, create=True) as ledger:
        console.print(f"{ledger.url.render_as_string()} is up to date.", highlight=False, soft_wrap=True)
    if create_keys:
        adapter.create_keys(settings.private_key_path, settings.public_key_path)
        console.print(f"signing keys: {settings.private_key_path}", highlight=False, soft_wrap=True)


def _say(part: str, what: str) -> None:
    moment = time.strftime("%H:%M:%S")
    console.print(f"[dim]{moment}[/dim] [bold]{part:<8}[/bold] {what}", highlight=False, soft_wrap=True)


def _show_ready(settings: Settings, running: Running) -> None:
    logs = settings.home / "logs"
    cells = [
        (name, pid, running.url if name == "api" else "", logs / f"{name}.log")
        for name, pid in running.parts.items()
    ]
    print_table(f"Trimtab is up (pid {os.getpid()})", ("part", "pid", "address", "log"), cells, empty="")
    console.print(f"API: {running.url}/docs    stop: Ctrl-C", highlight=False)
