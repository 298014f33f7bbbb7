"""Retention takes only what nothing serves, needs or could want back; what it took cannot be served by force."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, update

from tests.fixtures.ledgers import add_version, digest_of
from trimtab.errors import VersionRefused
from trimtab.ledger import events, examples, versions
from trimtab.ledger.clock import now
from trimtab.ledger.examples import Example
from trimtab.ledger.retention import collect_versions, collectable, digests_in_use
from trimtab.ledger.schema import versions as version_table
from trimtab.ledger.versions import VersionState

DAY = 86_400.0


@pytest.fixture
def aged(tx: Connection, model: str) -> str:
    """Eight versions, all of them 100 days old; the first is champion."""
    for n in range(4, 9):
        add_version(tx, model, n)
    tx.execute(update(version_table).values(created_at=now(tx) - 100 * DAY))
    return model


def found(tx: Connection, older_than_s: float = 90 * DAY, keep_newest: int = 0) -> list[int]:
    return [version.n for version in collectable(tx, older_than_s=older_than_s, keep_newest=keep_newest)]


def test_what_nothing_needs_may_go(tx: Connection, aged: str) -> None:
    assert found(tx) == [2, 3, 4, 5, 6, 7, 8]


def test_every_alias_keeps_its_version(tx: Connection, aged: str) -> None:
    versions.promote(tx, aged, 5, actor="test", reason="")
    versions.set_alias(tx, aged, "baseline", 2, actor="test", reason="")
    versions.set_alias(tx, aged, "keep-for-audit", 7, actor="test", reason="pinned")
    assert found(tx) == [3, 4, 6, 8]  # champion 5, previous 1
    versions.drop_alias(tx, aged, "keep-for-audit", actor="test", reason="")
    assert found(tx) == [3, 4, 6, 7, 8]


def test_what_the_gate_judges_by_stays(tx: Connection, aged: str) -> None:
    gate = Example(
        model=aged, domain="d", role="gate", text="t", key="k", label="pos", version=4, source="test"
    )
    examples.add_examples(tx, [gate])
    assert found(tx) == [2, 3, 5, 6, 7, 8]


def test_the_newest_and_the_young_stay(tx: Connection, aged: str) -> None:
    assert found(tx, keep_newest=3) == [2, 3, 4, 5]
    assert found(tx, keep_newest=100) == []
    assert found(tx, older_than_s=101 * DAY) == []
    add_version(tx, aged, 9)
    assert 9 not in found(tx)


def test_a_number_without_files_is_not_a_version_to_keep_or_collect(tx: Connection, aged: str) -> None:
    n = versions.reserve_version(tx, aged, "job-1")
    tx.execute(update(version_table).values(created_at=now(tx) - 100 * DAY))
    assert n not in found(tx)
    assert found(tx, keep_newest=1) == [2, 3, 4, 5, 6, 7]


def test_a_collected_version_is_not_served_even_by_force(tx: Connection, aged: str) -> None:
    gone = collect_versions(tx, older_than_s=90 * DAY, keep_newest=2)
    assert [version.n for version in gone] == [2, 3, 4, 5, 6]
    row = versions.get_version(tx, aged, 3)
    assert (row.state, row.has_files, row.digest) == (VersionState.COLLECTED, False, digest_of(3))
    assert "it was accepted" in row.reason
    with pytest.raises(VersionRefused, match="no files any more"):
        versions.promote(tx, aged, 3, actor="test", reason="", force=True)
    with pytest.raises(VersionRefused, match="no files any more"):
        versions.set_alias(tx, aged, "challenger", 3, actor="test", reason="", force=True)
    with pytest.raises(VersionRefused):
        versions.rollback(tx, aged, actor="test", reason="", to=3)
    assert digests_in_use(tx) == {digest_of(n) for n in (1, 7, 8)}
    assert collect_versions(tx, older_than_s=90 * DAY, keep_newest=2) == []


def test_each_collected_version_is_an_event(tx: Connection, aged: str) -> None:
    collect_versions(tx, older_than_s=90 * DAY, keep_newest=6)
    told = [event for event in events.list_events(tx) if event.kind == "version_collected"]
    assert [(event.model, event.detail["version"], event.detail["was"]) for event in told] == [
        (aged, 2, "accepted")
    ]
