"""Bring a database's schema up to date with the migrations that are packaged here."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from trimtab.errors import LedgerUnavailable

_MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(tx: Connection, revision: str = "head") -> None:
    """Run the missing migrations inside the transaction. Raises LedgerUnavailable when a newer release migrated it."""
    try:
        command.upgrade(_config(tx), revision)
    except CommandError as error:
        raise LedgerUnavailable(f"The ledger's schema is of a newer release of Trimtab: {error}") from error


def downgrade(tx: Connection, revision: str) -> None:
    """Undo migrations down to the revision ("base": all) inside the transaction; their tables' rows are lost."""
    command.downgrade(_config(tx), revision)


def current_revision(tx: Connection) -> str | None:
    """The migration that the database stands at; None before the first."""
    return MigrationContext.configure(tx).get_current_revision()


def newest_revision() -> str:
    """The last migration of this release."""
    head = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    assert head is not None  # noqa: S101  # there is a first migration
    return head


def _config(tx: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = tx
    return config
