"""Singletons: of several processes that want to be the monitor, one is, until its lease ends."""

from __future__ import annotations

from sqlalchemy import Connection, delete, or_

from trimtab.ledger.clock import db_now
from trimtab.ledger.schema import leases
from trimtab.ledger.upsert import insert_into


def hold(tx: Connection, name: str, owner: str, ttl_s: float) -> bool:
    """Take or renew the lease `name` for `ttl_s` seconds of the database's clock; False while another holds it."""
    statement = insert_into(tx, leases).values(name=name, owner=owner, expires_at=db_now() + ttl_s)
    changed = {"owner": owner, "expires_at": db_now() + ttl_s}
    free = or_(leases.c.owner == owner, leases.c.expires_at < db_now())
    upsert = statement.on_conflict_do_update(index_elements=["name"], set_=changed, where=free)
    return tx.execute(upsert.returning(leases.c.name)).one_or_none() is not None


def release(tx: Connection, name: str, owner: str) -> None:
    """Give the lease up, if it is the owner's."""
    tx.execute(delete(leases).where(leases.c.name == name, leases.c.owner == owner))
