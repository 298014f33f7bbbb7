"""The ledger's rows as plain JSON objects, the same for SQLite and PostgreSQL: what a backup holds.

Leases and replicas are left out: they say who is alive now, and in a restored ledger nobody is.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import Column, Connection, Table, func, insert, select
from sqlalchemy.types import LargeBinary

from trimtab.errors import Conflict
from trimtab.ledger.batches import BATCH
from trimtab.ledger.columns import Float32Array
from trimtab.ledger.schema import leases, metadata, replicas

TABLES: tuple[Table, ...] = tuple(
    table for table in metadata.sorted_tables if table.name not in {leases.name, replicas.name}
)
"""In an order in which a row never comes before a row that it refers to."""

COUNTED = tuple(
    table for table in TABLES if table.primary_key.columns[0].autoincrement is True
)  # tables whose numbers are never given twice


class LedgerNotEmpty(Conflict):
    """The ledger holds rows already: restore into an empty one."""


def rows_of(tx: Connection, table: Table) -> Iterator[dict[str, Any]]:
    """Every row as JSON knows it, by primary key, a batch in memory at a time."""
    query = select(table).order_by(*table.primary_key)
    streamed = tx.execute(query, execution_options={"yield_per": BATCH})
    binary = {column.name for column in table.c if _is_binary(column.type)}
    for row in streamed.mappings():
        yield {name: _encoded(value) if name in binary else value for name, value in row.items()}


def add_rows(tx: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> int:
    """Insert rows that `rows_of` gave; returns how many."""
    binary = [column for column in table.c if _is_binary(column.type)]
    decoded = (
        row | {each.name: _decoded(each, row[each.name]) for each in binary if each.name in row}
        for row in rows
    )
    n = 0
    while batch := list(islice(decoded, BATCH)):
        tx.execute(insert(table), batch)
        n += len(batch)
    return n


def counters_of(tx: Connection) -> dict[str, int]:
    """The last number that each counted table ever gave; it outlives the row."""
    if tx.dialect.name == "sqlite":
        rows = tx.exec_driver_sql("SELECT name, seq FROM sqlite_sequence").all()
        return {str(name): int(seq) for name, seq in rows}
    return {table.name: _postgresql_counter(tx, table) for table in COUNTED}


def set_counters(tx: Connection, counters: dict[str, int]) -> None:
    """Go on counting where the archived ledger stopped."""
    for table in COUNTED:
        last = counters.get(table.name, 0)
        if last and tx.dialect.name == "sqlite":
            tx.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
            tx.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table.name, last))
        elif last:
            tx.execute(select(func.setval(_sequence_of(table), last)))


def require_empty(tx: Connection) -> None:
    """Raises LedgerNotEmpty when a table that a backup holds has a row."""
    for table in TABLES:
        if tx.execute(select(func.count()).select_from(table)).scalar_one():
            raise LedgerNotEmpty(f"The ledger has rows in `{table.name}` already: restore into an empty one.")


def _is_binary(kind: Any) -> bool:
    return isinstance(kind, (LargeBinary, Float32Array))


def _encoded(value: Any) -> str | None:
    """Bytes, or a float32 vector as little-endian bytes, in base64."""
    if value is None:
        return None
    return base64.b64encode(value if isinstance(value, bytes) else value.tobytes()).decode("ascii")


def _decoded(column: Column[Any], value: str | None) -> Any:
    if value is None:
        return None
    raw = base64.b64decode(value)
    return np.frombuffer(raw, dtype="<f4") if isinstance(column.type, Float32Array) else raw


def _sequence_of(table: Table) -> Any:
    return func.pg_get_serial_sequence(table.name, table.primary_key.columns[0].name)


def _postgresql_counter(tx: Connection, table: Table) -> int:
    name = tx.execute(select(_sequence_of(table))).scalar_one()
    last, called = tx.exec_driver_sql(f"SELECT last_value, is_called FROM {name}").one()  # noqa: S608  # the database's
    return int(last) if called else 0
