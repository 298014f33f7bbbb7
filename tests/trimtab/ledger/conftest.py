"""Every ledger test runs on both databases: SQLite always, PostgreSQL where it is installed (in CI it is)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.fixtures.ledgers import filled_model
from tests.fixtures.postgres import PostgresServer
from trimtab.ledger import Ledger
from trimtab.ledger.schema import metadata

BACKENDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.system)]


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "ledger.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_database(postgres: PostgresServer) -> str:
    name = postgres.create_database()
    _migrate(postgres.url(name))
    return name


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    yield server.url(server.create_database())


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with every table and no row."""
    if request.param == "sqlite":
        path = tmp_path / "ledger.db"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = request.getfixturevalue("migrated_database")
    server.empty(name, metadata.tables)
    yield server.url(name)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url)
    yield ledger
    ledger.close()


@pytest.fixture
def tx(ledger: Ledger) -> Iterator[Connection]:
    """One write transaction around the whole test."""
    with ledger.begin() as tx:
        yield tx


@pytest.fixture
def model(tx: Connection) -> str:
    """A model with labels "neg" and "pos" and accepted versions 1 (champion), 2 and 3."""
    return filled_model(tx)


def _migrate(url: str) -> None:
    ledger = Ledger(url)
    ledger.migrate()
    ledger.close()
