"""API keys are shown once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.calls import Outcome, Trimtab
from trimtab.ledger import Ledger, keys


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    made.migrate()
    return made


@pytest.fixture
def call(trimtab: Trimtab, tmp_path: Path) -> Trimtab:
    def at_home(*arguments: object) -> Outcome:
        return trimtab("--home", tmp_path, *arguments)

    return at_home


def test_a_key_is_shown_once_and_works_until_it_is_revoked(call: Trimtab, ledger: Ledger) -> None:
    plain = call("keys", "add", "shop", "--roles", "predict, read", "--client", "shop-a").out.strip()
    with ledger.read() as tx:
        found = keys.find_key(tx, plain)
    assert found is not None
    assert (found.roles, found.client) == (frozenset({"predict", "read"}), "shop-a")
    listed = call("keys", "list", "--json")
    assert [key["name"] for key in listed.document] == ["shop"]
    assert plain not in listed.out + call("keys", "list").out
    assert call("keys", "revoke", "shop").code == 0
    with ledger.read() as tx:
        assert keys.find_key(tx, plain) is None
    ledger.close()


def test_wrong_roles_and_names_are_told(call: Trimtab, tmp_path: Path) -> None:
    assert "name at least one of predict" in call("keys", "add", "x", "--roles", "fly").err
    assert call("keys", "add", "x").code == 0
    assert call("keys", "add", "x").code == 2
    assert "no key named 'y'" in call("keys", "revoke", "y").err
