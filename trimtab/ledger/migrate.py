"""Bring a database's schema up to date with the migrations that are packaged here."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

_MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(tx: Connection, revision: str = "head") -> None:
    """Run the missing migrations inside the transaction."""
    command.upgrade(_config(tx), revision)


def downgrade(tx: Connection, revision: str) -> None:
    """Undo migrations down to the revision ("base": all) inside the transaction; their tables' rows are lost."""
    command.downgrade(_config(tx), revision)


def _config(tx: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = tx
    return config
