"""Replicas of the API: what each says that it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select

from trimtab.ledger.clock import db_now, now
from trimtab.ledger.schema import replicas
from trimtab.ledger.upsert import insert_into


@dataclass(frozen=True, kw_only=True)
class ReplicaRow:
    """What a replica reported.

    Attributes:
        replica: Its name.
        pid, url: Its process and address.
        serving: For each model what is loaded.
        generations: For each model the generation it follows.
        refused: What it refused to load, and why.
        reported_at, age_s: When it reported (epoch seconds), and how long ago.
    """

    replica: str
    pid: int
    url: str
    serving: dict[str, Any]
    generations: dict[str, int]
    refused: dict[str, Any]
    reported_at: float
    age_s: float


def report_replica(
    tx: Connection,
    replica: str,
    *,
    pid: int,
    url: str,
    serving: Mapping[str, Any],
    generations: Mapping[str, int],
    refused: Mapping[str, Any],
) -> None:
    """Say what a replica serves now, in place of what it said before."""
    said = {"pid": pid, "url": url, "serving": dict(serving), "generations": dict(generations)}
    statement = insert_into(tx, replicas).values(
        replica=replica, **said, refused=dict(refused), reported_at=db_now()
    )
    changed = {name: statement.excluded[name] for name in (*said, "refused", "reported_at")}
    tx.execute(statement.on_conflict_do_update(index_elements=["replica"], set_=changed))


def list_replicas(tx: Connection) -> list[ReplicaRow]:
    """Every replica that reported and did not leave, by name."""
    moment = now(tx)
    rows = tx.execute(select(replicas).order_by(replicas.c.replica)).mappings()
    return [ReplicaRow(**row, age_s=max(0.0, moment - row["reported_at"])) for row in rows]


def forget_replica(tx: Connection, replica: str) -> None:
    """Remove a replica that left."""
    tx.execute(delete(replicas).where(replicas.c.replica == replica))
