"""Files go after their rows, and never those that a version needs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.fixtures.deployment import Deployment, deployment
from trimtab.collection import ORPHAN_S, collect, plan_collection
from trimtab.errors import VersionNotFound
from trimtab.ledger.schema import versions as version_table
from trimtab.settings import StoreSettings

KEEP = StoreSettings(retention="30d", keep_versions=1)


@pytest.fixture
def aged(tmp_path: Path, tiny_base_dir: Path) -> Iterator[tuple[Deployment, dict[int, str]]]:
    """Versions 1 to 5 of long ago: 2 previous, 3 champion; and the digest of each."""
    with deployment(tmp_path, tiny_base_dir, "redis://localhost:1") as toy:
        toy.create_model()
        digests = {n: toy.add_version(n, promote=n in {2, 3}) for n in range(1, 6)}
        with toy.ledger.begin() as tx:
            tx.execute(update(version_table).values(created_at=1e9))
        yield toy, digests


def test_a_plan_changes_nothing(aged: tuple[Deployment, dict[int, str]]) -> None:
    toy, digests = aged
    plan = plan_collection(toy.ledger, toy.store, KEEP)
    assert [version.n for version in plan.versions] == [1, 4]
    assert set(plan.digests) == {digests[1], digests[4]}
    assert all(toy.store.has(digest) for digest in digests.values())
    assert plan_collection(toy.ledger, toy.store, KEEP) == plan


def test_what_was_planned_goes_and_what_serves_stays(aged: tuple[Deployment, dict[int, str]]) -> None:
    toy, digests = aged
    done = collect(toy.ledger, toy.store, KEEP)
    assert {version.n for version in done.versions} == {1, 4}
    assert {n for n, digest in digests.items() if toy.store.has(digest)} == {2, 3, 5}
    with pytest.raises(VersionNotFound):
        toy.store.get(digests[1])
    again = collect(toy.ledger, toy.store, KEEP)
    assert (again.versions, again.digests) == ((), ())
    with toy.running() as api:
        assert api.predict("good film").json()["model_version"] == 3


def test_files_that_two_versions_share_stay_while_one_needs_them(
    aged: tuple[Deployment, dict[int, str]],
) -> None:
    toy, digests = aged
    with toy.ledger.begin() as tx:
        tx.execute(update(version_table).where(version_table.c.n == 4).values(digest=digests[3]))
    done = collect(toy.ledger, toy.store, KEEP)
    assert 4 in {version.n for version in done.versions}
    assert toy.store.has(digests[3])


def test_files_without_a_row_are_left_to_their_worker_for_a_day(
    aged: tuple[Deployment, dict[int, str]],
) -> None:
    toy, digests = aged
    with toy.ledger.begin() as tx:
        tx.execute(version_table.delete().where(version_table.c.n == 5))
    collect(toy.ledger, toy.store, KEEP)
    assert toy.store.has(digests[5])
    long_ago = time.time() - ORPHAN_S - 60
    for file in toy.files_of(digests[5]).iterdir():
        os.utime(file, (long_ago, long_ago))
    assert collect(toy.ledger, toy.store, KEEP).digests == (digests[5],)
    assert not toy.store.has(digests[5])
