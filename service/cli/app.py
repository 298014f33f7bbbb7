"""The commands of `trimtab`, their common options, and what an error looks like to a person.

Exit codes: 0 held, 1 failed, 2 used wrongly. An error that Trimtab raises on purpose is one line, without a traceback.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.cli import (
    act,
    completion,
    demo,
    drift,
    forget,
    jobs,
    keep,
    keys,
    labels,
    look,
    processes,
    replay,
)
from service.cli.entry import Entry
from service.threads import prepare_environment
from trimtab.errors import (
    AlreadyExists,
    BaseModelMissing,
    DataError,
    HomeInUse,
    InvalidInput,
    NotFound,
    SettingsError,
    TrimtabError,
)

USED_WRONGLY = (SettingsError, DataError, BaseModelMissing, HomeInUse, NotFound, AlreadyExists, InvalidInput)

app = typer.Typer(
    name="trimtab",
    help="Keeps a deployed text classifier on course: notices drift, adapts, proves, swaps, steps back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _tell_version(wanted: bool) -> None:
    from importlib.metadata import version

    if wanted:
        sys.stdout.write(f"trimtab {version('trimtab')}\n")
        raise typer.Exit


@app.callback()
def common(
    ctx: typer.Context,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings (else TRIMTAB_CONFIG).")] = None,
    home: Annotated[
        Path | None, typer.Option(help="Directory of everything kept (else TRIMTAB_HOME).")
    ] = None,
    version: Annotated[  # noqa: ARG001  # its callback has answered
        bool,
        typer.Option("--version", help="Say which release this is.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    """Options of every command."""
    ctx.obj = Entry(config=config, home=home)


for module in (act, processes, look, jobs, drift, forget, keep, demo, replay, completion):
    module.register(app)
app.add_typer(keys.app, name="keys")
app.add_typer(labels.app, name="labels")


def main() -> None:
    """The console script."""
    # Before torch is loaded.
    prepare_environment(os.environ)
    try:
        app(prog_name=completion.PROGRAM)
    except TrimtabError as error:
        sys.stderr.write(f"trimtab: {error}\n")
        sys.exit(2 if isinstance(error, USED_WRONGLY) else 1)
