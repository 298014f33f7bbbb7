"""What happened, in order: the operator's log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from trimtab.ledger.clock import db_now
from trimtab.ledger.schema import events


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened: `seq` grows, `at` is epoch seconds, `model` is None for the whole service."""

    seq: int
    at: float
    kind: str
    model: str | None
    actor: str
    detail: dict[str, Any]


def record_event(
    tx: Connection,
    kind: str,
    model: str | None,
    detail: Mapping[str, Any] | None = None,
    actor: str = "system",
) -> int:
    """Append an event; returns its sequence number."""
    row = {"kind": kind, "model": model, "actor": actor, "detail": dict(detail or {})}
    statement = insert(events).values(at=db_now(), **row).returning(events.c.seq)
    return int(tx.execute(statement).scalar_one())


def list_events(tx: Connection, after: int = 0, limit: int = 100, *, model: str | None = None) -> list[Event]:
    """The first `limit` events with a sequence number above `after`, oldest first."""
    query = select(events).where(events.c.seq > after).order_by(events.c.seq).limit(limit)
    if model is not None:
        query = query.where(events.c.model == model)
    return [Event(**row) for row in tx.execute(query).mappings()]


def newest_events(
    tx: Connection, before: int | None = None, limit: int = 100, *, model: str | None = None
) -> list[Event]:
    """The newest `limit` events (below the sequence number `before`), newest first."""
    query = select(events).order_by(events.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(events.c.seq < before)
    if model is not None:
        query = query.where(events.c.model == model)
    return [Event(**row) for row in tx.execute(query).mappings()]


def last_event_seq(tx: Connection) -> int:
    """Sequence number of the newest event; 0 when there is none."""
    query = select(events.c.seq).order_by(events.c.seq.desc()).limit(1)
    return int(tx.execute(query).scalar_one_or_none() or 0)
