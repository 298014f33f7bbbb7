from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import Connection, select

from trimtab.errors import AlreadyExists, InvalidInput, NotFound
from trimtab.ledger import keys
from trimtab.ledger.schema import api_keys


def test_a_key_is_found_by_its_text_only(tx: Connection):
    plain = keys.add_key(tx, "laptop", ["read", "predict"], client="ada")
    other = keys.add_key(tx, "phone", ["predict"])
    assert len(plain) > 40
    assert plain != other
    found = keys.find_key(tx, plain)
    assert found is not None
    assert (found.name, found.roles, found.client) == ("laptop", {"read", "predict"}, "ada")
    assert keys.find_key(tx, plain + "x") is None
    assert keys.find_key(tx, "\ud800") is None
    assert [each.client for each in keys.list_keys(tx)] == ["ada", "phone"]


def test_the_text_is_kept_nowhere(tx: Connection):
    plain = keys.add_key(tx, "laptop", ["read"])
    kept = repr(tx.execute(select(api_keys)).all())
    assert plain not in kept
    assert plain.removeprefix("tt_") not in kept


def test_a_revoked_key_is_worthless(tx: Connection):
    plain = keys.add_key(tx, "laptop", ["read"])
    keys.revoke_key(tx, "laptop")
    assert keys.find_key(tx, plain) is None
    (key,) = keys.list_keys(tx)
    assert key.revoked_at is not None
    keys.revoke_key(tx, "laptop")
    assert keys.list_keys(tx) == [key]


def test_live_keys_by_digest(tx: Connection):
    plain = keys.add_key(tx, "laptop", ["read"])
    keys.add_key(tx, "lost", ["read"])
    keys.revoke_key(tx, "lost")
    (laptop,) = [key for key in keys.list_keys(tx) if key.name == "laptop"]
    assert keys.live_keys(tx) == {hashlib.sha256(plain.encode()).digest(): laptop}


def test_refusals(tx: Connection):
    keys.add_key(tx, "laptop", ["read"])
    with pytest.raises(AlreadyExists, match="'laptop'"):
        keys.add_key(tx, "laptop", ["read"])
    with pytest.raises(InvalidInput, match="predict, feedback, read, operate"):
        keys.add_key(tx, "phone", ["root"])
    with pytest.raises(InvalidInput):
        keys.add_key(tx, "phone", [])
    with pytest.raises(NotFound, match="'phone'"):
        keys.revoke_key(tx, "phone")
