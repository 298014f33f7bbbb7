"""What every command starts from: the settings of this call, and the ledger they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trimtab.errors import ModelNotFound, SettingsError
from trimtab.settings import Settings, read_settings

if TYPE_CHECKING:
    from trimtab.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The common options of a call."""

    config: Path | None = None
    home: Path | None = None


def settings_of(ctx: typer.Context) -> Settings:
    """The settings of this call. Raises SettingsError."""
    return settings_for(ctx.obj)


def settings_for(entry: Entry) -> Settings:
    """The settings that these options give; `--home` wins over everything. Raises SettingsError."""
    settings = read_settings(entry.config)
    return settings.model_copy(update={"home": entry.home}) if entry.home else settings


@contextmanager
def open_ledger(settings: Settings, *, create: bool = False) -> Iterator[Ledger]:
    """The ledger, closed at the end; with `create` its schema is brought up to date first.

    Raises:
        SettingsError: there is none yet: nothing was ever started on this home.
        ModelNotFound: as what is done with the ledger raises it, with the models that there are.
    """
    from trimtab.ledger import Ledger

    file = settings.home / "ledger.db"
    if settings.ledger.url is None and not create and not file.exists():
        raise SettingsError(
            f"there is nothing in {settings.home} yet: run `trimtab init` or `trimtab up` first"
        )
    ledger = Ledger(settings.ledger_url)
    try:
        if create:
            ledger.migrate()
        yield ledger
    except ModelNotFound as error:
        raise ModelNotFound(f"{error} {_models(ledger)}") from None
    finally:
        ledger.close()


def _models(ledger: Ledger) -> str:
    from trimtab.ledger.models import list_models

    with ledger.read() as tx:
        names = [model.name for model in list_models(tx)]
    return f"There are: {', '.join(names[:10])}." if names else "There is none yet: run `trimtab init`."
