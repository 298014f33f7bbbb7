from __future__ import annotations

from sqlalchemy import Connection

from trimtab.ledger import locks


def test_one_owner_holds_a_name(tx: Connection):
    assert locks.hold(tx, "monitor", "one", 30.0)
    assert not locks.hold(tx, "monitor", "other", 30.0)
    assert locks.hold(tx, "monitor", "one", 30.0)
    assert locks.hold(tx, "another name", "other", 30.0)


def test_an_expired_lease_goes_to_whoever_asks_first(tx: Connection):
    assert locks.hold(tx, "monitor", "one", -1.0)
    assert locks.hold(tx, "monitor", "other", 30.0)
    assert not locks.hold(tx, "monitor", "one", 30.0)


def test_only_the_owner_gives_it_up(tx: Connection):
    locks.hold(tx, "monitor", "one", 30.0)
    locks.release(tx, "monitor", "other")
    assert not locks.hold(tx, "monitor", "other", 30.0)
    locks.release(tx, "monitor", "one")
    assert locks.hold(tx, "monitor", "other", 30.0)
