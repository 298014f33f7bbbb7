"""`trimtab replay`: a recorded stream as traffic."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.cli.entry import settings_of
from service.cli.look import AsJson, Name
from service.cli.show import console, plain, print_json, print_table

if TYPE_CHECKING:
    from service.client import ApiClient
    from service.replay import Segment, Sent
    from trimtab.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(name="replay")(replay_file)


def replay_file(  # noqa: PLR0917  # typer reads options from parameters
    ctx: typer.Context,
    name: Name,
    data: Annotated[Path, typer.Option(help="JSON Lines or CSV with text and label.")],
    rate: Annotated[
        float, typer.Option(help="Events per second; 0: as fast as answers come.", min=0.0)
    ] = 20.0,
    feedback: Annotated[
        float, typer.Option(help="Share of the rows whose label is sent.", min=0.0, max=1.0)
    ] = 0.0,
    delay: Annotated[float, typer.Option(help="Seconds until a label is sent.", min=0.0)] = 0.0,
    url: Annotated[
        str | None, typer.Option(help="Address of the API (else the one that is up here).")
    ] = None,
    key: Annotated[str | None, typer.Option(envvar="API_KEY", help="API key, if it asks for one.")] = None,
    skip_bad: Annotated[bool, typer.Option(help="Leave bad lines out and report them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a recorded stream as traffic, labels as delayed feedback; a scorecard by domain at the end.

    The exit code is 1 when an answer failed.
    """
    from service.client import ApiClient
    from service.replay import DelayedFeedback, Pace, replay, segments, send_feedback
    from trimtab.datafiles import load_rows

    file = load_rows(data, skip_bad=skip_bad)
    started = time.monotonic()
    address = url or _address(settings_of(ctx))
    with ApiClient(address, key=key) as client, _progress(as_json) as progress:
        _try_out(client, address, name, file.rows[0].text)
        task = progress.add_task(f"{name}", total=len(file.rows))
        waiting = DelayedFeedback(client, fraction=feedback, delay_s=delay)
        sent = replay(
            client,
            name,
            file.rows,
            pace=Pace(lambda: rate),
            feedback=waiting,
            told=lambda _: progress.advance(task),
        )
        failure = send_feedback(waiting, everything=True)
    summary: dict[str, Any] = {
        "model": name,
        "events": len(sent),
        "failed": sum(one.answer is None for one in sent),
        "seconds": round(time.monotonic() - started, 3),
        "skipped_lines": [plain(bad) for bad in file.skipped],
        "feedback": {"sent": waiting.sent, "failure": failure} | dict(waiting.counts),
        "segments": [_finite(plain(segment)) for segment in segments(sent)],
    }
    _show(summary, segments(sent), sent, as_json=as_json)
    raise typer.Exit(1 if summary["failed"] or failure else 0)


def _try_out(client: ApiClient, address: str, name: str, text: str) -> None:
    """One answer that is no traffic: address, key and model are right, or nothing is sent. Raises CallFailed."""
    from service.client import CallFailed

    try:
        client.predict(name, [text], sample=False)
    except CallFailed as error:
        advice = "is `trimtab up` running, are --url, --key and the model's name right?"
        raise CallFailed(f"nothing was sent to {address}: {error} ({advice})") from None


def _show(summary: dict[str, Any], parts: Sequence[Segment], sent: Sequence[Sent], *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    cells = [
        (
            part.domain,
            part.n,
            part.failed,
            f"{part.accuracy:.3f}",
            f"{part.balanced_accuracy:.3f}",
            ", ".join(f"{version}: {n}" for version, n in part.versions.items()),
            f"{part.p50_ms:.0f} / {part.p95_ms:.0f}",
        )
        for part in parts
    ]
    columns = ("domain", "events", "failed", "accuracy", "balanced", "answers by version", "p50 / p95 ms")
    print_table(f"{summary['model']}: {summary['events']} events", columns, cells, empty="Nothing was sent.")
    counts = summary["feedback"]
    console.print(
        f"feedback: {counts['sent']} sent, {counts.get('joined', 0)} joined, {counts.get('pending', 0)} pending"
    )
    for one in [one for one in sent if one.answer is None][:3]:
        console.print(f"failed: {one.failure}", highlight=False)


def _progress(as_json: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=as_json or not console.is_terminal)


def _address(settings: Settings) -> str:
    from service.home import find_running
    from service.parts import api_url

    running = find_running(settings.home) if settings.home.exists() else None
    return running.url if running else api_url(settings)


def _finite(members: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no nan."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in members.items()
    }
