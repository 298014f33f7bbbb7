"""The ledger's database: where it is, how a transaction begins, and how its schema is brought up to date.

One writer at a time, on both databases: SQLite by BEGIN IMMEDIATE, PostgreSQL by an advisory lock taken as the first
statement. Writes here are small (control plane, blocks of samples), and in return every function of this package may
read and then write without races, sequence numbers appear in the order in which they were given, and nothing deadlocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, TimeoutError  # noqa: A004

from trimtab.errors import LedgerUnavailable, SettingsError
from trimtab.ledger.columns import to_json

WAIT_S = 10  # longest wait for another writer

Access = Literal["read", "write"]

_BEGIN: dict[tuple[str, Access], str] = {
    ("sqlite", "read"): "BEGIN",
    ("sqlite", "write"): "BEGIN IMMEDIATE",
    # 7_462_822 ("trim"-like, arbitrary) keeps clear of other programs' locks; one lock a schema.
    ("postgresql", "write"): "SELECT pg_advisory_xact_lock(7462822, hashtext(current_schema()))",
}


class Ledger:
    """Owns the engine. `begin()` and `read()` hand out connections; topic modules work on those.

    Args:
        url: `sqlite:////absolute/file.db` or `postgresql://user:password@host/database`.

    Raises:
        SettingsError: The URL is of no supported database.
    """

    def __init__(self, url: str) -> None:
        self.url = _checked_url(url)
        self.engine = _create_engine(self.url)
        event.listen(self.engine, "begin", _on_begin)
        self._writing = self.engine.execution_options(trimtab_access="write")
        self._reading = self.engine.execution_options(**_read_options(self.url))

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction: committed at the end, rolled back by an exception. Raises LedgerUnavailable."""
        with _available(), self._writing.begin() as tx:
            yield tx

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only transaction that sees one moment. Raises LedgerUnavailable."""
        with _available(), self._reading.begin() as tx, _query_only(tx):
            yield tx

    def migrate(self) -> None:
        """Create or upgrade the schema. Safe to call from many processes at once; all or nothing."""
        from trimtab.ledger.migrate import upgrade

        if self.url.database and self.url.get_backend_name() == "sqlite":
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        with self.begin() as tx:
            upgrade(tx)

    def ping(self) -> bool:
        """Whether the database answers."""
        try:
            with self.read() as tx:
                tx.exec_driver_sql("SELECT 1")
        except LedgerUnavailable:
            return False
        return True

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _checked_url(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except ArgumentError:
        backend = ""
    if backend == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        return parsed
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise SettingsError(
        "ledger.url: write sqlite:////path/file.db or postgresql://user:password@host/database"
    )


def _create_engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        # isolation_level None: the driver begins nothing by itself, `_on_begin` does.
        connect_args: dict[str, Any] = {"isolation_level": None, "timeout": WAIT_S}
        engine = create_engine(url, connect_args=connect_args, json_serializer=to_json)
        event.listen(engine, "connect", _set_pragmas)
        return engine
    limits = f"-c lock_timeout={WAIT_S}s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
    connect_args = {"connect_timeout": 5, "options": limits}
    return create_engine(url, connect_args=connect_args, json_serializer=to_json, pool_pre_ping=True)


def _set_pragmas(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _read_options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"trimtab_access": "read"}
    return {"trimtab_access": "read", "isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def _on_begin(connection: Connection) -> None:
    access = connection.get_execution_options().get("trimtab_access", "read")
    statement = _BEGIN.get((connection.dialect.name, access))
    if statement is not None:
        connection.exec_driver_sql(statement)


@contextmanager
def _query_only(tx: Connection) -> Iterator[None]:
    if tx.dialect.name != "sqlite":
        yield
        return
    tx.exec_driver_sql("PRAGMA query_only=ON")
    try:
        yield
    finally:
        tx.exec_driver_sql("PRAGMA query_only=OFF")


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, TimeoutError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise LedgerUnavailable(f"The ledger cannot be reached: {cause}") from error
