"""Time as the database sees it: hosts' clocks differ, and leases must not depend on them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Double, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class db_now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function it is
    """Epoch seconds (float, at least millisecond resolution) of the database's clock."""

    type = Double()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"  # 2440587.5: Julian day of 1970-01-01T00:00Z


@compiles(db_now, "postgresql")
def _postgresql_now(*_: Any, **__: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS double precision)"


def now(tx: Connection) -> float:
    """Epoch seconds of the database's clock."""
    return float(tx.execute(select(db_now())).scalar_one())
