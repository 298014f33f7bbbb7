"""`trimtab demo`: the whole loop on real text, every promise measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.entry import settings_of


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(demo)


def demo(
    ctx: typer.Context,
    full: Annotated[bool, typer.Option("--full", help="Go on to Amazon and NYT.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything measured to this file.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the home, to look at it afterwards.")] = False,
    seed: Annotated[int, typer.Option(help="Which rows are used for what.", min=0)] = 1,
) -> None:
    """Movie -> tweets -> movie through the real API; the exit code is 0 only if every promise held."""
    from service.demo.story import run_demo

    raise typer.Exit(run_demo(settings_of(ctx), full=full, json_file=json_file, keep=keep, seed=seed))
