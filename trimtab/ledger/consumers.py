"""Who takes jobs: every worker keeps a lease of its own on its queue, and a queue without one has nobody.

The broker need not be asked: it knows nothing of a worker that lost the ledger, and status is read from the ledger.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, delete, select

from trimtab.ledger import locks
from trimtab.ledger.clock import db_now
from trimtab.ledger.schema import leases


def report_worker(tx: Connection, queue: str, owner: str, ttl_s: float) -> None:
    """Say that this worker takes jobs from the queue for the next `ttl_s` seconds; forget those that are gone."""
    locks.hold(tx, _name(queue, owner), owner, ttl_s)
    tx.execute(delete(leases).where(leases.c.name.startswith(_name(queue, ""), autoescape=True), _is_over()))


def forget_worker(tx: Connection, queue: str, owner: str) -> None:
    """Remove a worker that left."""
    locks.release(tx, _name(queue, owner), owner)


def live_workers(tx: Connection, queue: str) -> list[str]:
    """The workers that take jobs from the queue now, by name."""
    mine = leases.c.name.startswith(_name(queue, ""), autoescape=True)
    return list(
        tx.execute(select(leases.c.owner).where(mine, ~_is_over()).order_by(leases.c.owner)).scalars()
    )


def _is_over() -> ColumnElement[bool]:
    return leases.c.expires_at < db_now()


def _name(queue: str, owner: str) -> str:
    return f"worker:{queue}:{owner}"
