"""`trimtab completion SHELL`: what the shell evaluates once, and the names that it then offers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from typer._completion_classes import completion_init
from typer._completion_shared import get_completion_script

from service.cli.entry import Entry, open_ledger, settings_for
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from sqlalchemy import Connection

PROGRAM, VARIABLE = "trimtab", "_TRIMTAB_COMPLETE"


class Shell(StrEnum):
    """Shells that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def register(app: typer.Typer) -> None:
    """Add the command to the application; the shell's questions come through the environment."""
    completion_init()
    app.command()(completion)


def completion(shell: Annotated[Shell, typer.Argument(help="Which shell the script is for.")]) -> None:
    """Print what completes commands, options and names of models: `eval "$(trimtab completion bash)"`."""
    sys.stdout.write(get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell) + "\n")


def model_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The models of this home that begin so."""
    from trimtab.ledger.models import list_models

    return _begin(ctx, incomplete, lambda tx: [model.name for model in list_models(tx)])


def model_names_or_cancel(ctx: typer.Context, incomplete: str) -> list[str]:
    """The models, and the word that cancels a job."""
    return [*model_names(ctx, incomplete), *(["cancel"] if "cancel".startswith(incomplete) else [])]


def drift_words(ctx: typer.Context, incomplete: str) -> list[str]:
    """The models, and what else `trimtab drift` does."""
    words = [word for word in ("acknowledge", "selftest") if word.startswith(incomplete)]
    return [*model_names(ctx, incomplete), *words]


def open_jobs(ctx: typer.Context, incomplete: str) -> list[str]:
    """The jobs that have not ended and begin so."""
    from trimtab.ledger.jobs import SHOWN, list_jobs

    return _begin(
        ctx, incomplete, lambda tx: [job.id[:SHOWN] for job in list_jobs(tx) if not job.status.final]
    )


def _begin(ctx: typer.Context, incomplete: str, read: Callable[[Connection], list[str]]) -> list[str]:
    """What is read from the ledger and begins so; nothing when there is no ledger: a shell shows no errors."""
    given = ctx.find_root().params
    entry = Entry(config=given.get("config"), home=given.get("home"))
    try:
        with open_ledger(settings_for(entry)) as ledger, ledger.read() as tx:
            found = read(tx)
    except TrimtabError:
        return []
    return [name for name in found if name.startswith(incomplete)]
