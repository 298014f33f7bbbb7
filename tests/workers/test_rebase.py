"""A toy model moves to another base: judged against its champion, promoted, followed by replicas, and taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.tiny_base import build_tiny_base
from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, toy_shop
from trimtab.adapter import verify
from trimtab.base import load_base
from trimtab.bundle import build_bundle
from trimtab.errors import BaseMismatch, Conflict, DataError
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs, models, versions
from trimtab.ledger.versions import VersionState
from trimtab.settings import GateSettings
from workers.adapt import run_adaptation
from workers.rebase import Rebased, rebase
from workers.workshop import load_version


@pytest.fixture(scope="module")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same family with other weights."""
    return build_tiny_base(tmp_path_factory.mktemp("other"), seed=5)


@pytest.fixture(scope="module")
def moved(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path, other_base: Path
) -> Iterator[tuple[ToyShop, Rebased]]:
    """Films on the first base, then rebased; the gate is lenient because the toy's sets are small. Read only."""
    with toy_shop(
        tmp_path_factory.mktemp("moved"), tiny_base_dir, gate=GateSettings(max_forgetting=0.2)
    ) as toy:
        toy.create_first()
        yield toy, rebase(toy.shop, model=MODEL, base_name=str(other_base), epochs=10)


def test_it_is_promoted_when_it_is_no_worse(moved: tuple[ToyShop, Rebased]) -> None:
    toy, found = moved
    assert found.status is JobStatus.PROMOTED, found.reason
    with toy.ledger.read() as tx:
        (job,) = jobs.list_jobs(tx, MODEL)
        assert versions.get_aliases(tx, MODEL) == {"champion": 2, "previous": 1, "baseline": 1}
        manifest = versions.get_version(tx, MODEL, 2).manifest
    assert [check["name"] for check in (job.verdict or {})["checks"]] == [
        "integrity", "parity", "forgetting:film", "calibration", "likelihood", "flips", "slices", "use:film",
    ]  # fmt: skip
    assert manifest["trigger"]["kind"] == "rebase"
    assert manifest["parent"] == 1


def test_the_base_moves_with_the_champion_and_back(
    tiny_base_dir: Path, other_base: Path, tmp_path: Path
) -> None:
    with toy_shop(tmp_path, tiny_base_dir, gate=GateSettings(max_forgetting=0.2)) as toy:
        toy.create_first()
        rebase(toy.shop, model=MODEL, base_name=str(other_base), epochs=10)
        one, other = (load_base(str(each), "cpu").digest for each in (tiny_base_dir, other_base))
        with toy.ledger.begin() as tx:
            assert versions.served_model(tx, MODEL).base_digest == other
            assert versions.served_model(tx, MODEL).base == str(other_base)
            versions.rollback(tx, MODEL, actor="test", reason="worse")
            assert versions.served_model(tx, MODEL) == models.get_model(tx, MODEL)
            assert versions.served_model(tx, MODEL).base_digest == one


def test_each_version_is_loaded_on_its_own_base(moved: tuple[ToyShop, Rebased], other_base: Path) -> None:
    toy, _ = moved
    first, second = (load_version(toy.shop, None, MODEL, n) for n in (1, 2))
    assert (first.bundle.base.name, second.bundle.base.name) == (str(toy.base_dir), str(other_base))
    rows = toy_rows("film", 200, seed=9)
    texts, truth = [row.text for row in rows], np.array([LABELS.index(row.label) for row in rows])
    assert second.answers.scorecard(texts, truth).accuracy > 0.8
    # Whichever base is at hand, a version gets its own.
    assert load_version(toy.shop, second.bundle.base, MODEL, 1).bundle.base.digest == first.bundle.base.digest


def test_an_adapter_of_another_base_is_refused_by_digest(
    moved: tuple[ToyShop, Rebased], tiny_base_dir: Path
) -> None:
    toy, _ = moved
    second = load_version(toy.shop, None, MODEL, 2)
    with toy.ledger.read() as tx:
        digest = versions.get_version(tx, MODEL, 2).digest
    assert digest is not None
    manifest = verify(second.files, toy.shop.public_key, digest)
    with pytest.raises(BaseMismatch):
        build_bundle(load_base(str(tiny_base_dir), "cpu"), second.files, manifest=manifest, digest=digest)


def test_the_lineage_goes_on_from_the_new_base(tiny_base_dir: Path, other_base: Path, tmp_path: Path) -> None:
    """An adaptation after a rebase trains on the new base, and judges the old version on the old one."""
    with toy_shop(tmp_path, tiny_base_dir, gate=GateSettings(max_forgetting=0.3)) as toy:
        toy.create_first()
        rebase(toy.shop, model=MODEL, base_name=str(other_base), epochs=10)
        first_seq = toy.stream(toy_rows("shop", 400), version=2, name="after")
        job = toy.open_job(first_seq)
        run_adaptation(toy.shop, toy.claim(job))
        ended = toy.job(job.id)
        assert ended.version == 3, ended.reason
        with toy.ledger.read() as tx:
            manifest = versions.get_version(tx, MODEL, 3).manifest
        assert manifest["base"]["digest"] == load_base(str(other_base), "cpu").digest


def test_a_worse_base_is_rejected_or_held_and_serves_nothing(empty_shop: ToyShop, other_base: Path) -> None:
    """Not trained at all it answers one label."""
    empty_shop.create_first()
    found = rebase(empty_shop.shop, model=MODEL, base_name=str(other_base), epochs=0)
    assert found.status is JobStatus.REJECTED
    with empty_shop.ledger.read() as tx:
        assert versions.get_aliases(tx, MODEL)["champion"] == 1
        assert versions.get_version(tx, MODEL, 2).state is VersionState.REJECTED


def test_the_same_base_and_a_pinned_champion_are_refused(empty_shop: ToyShop, other_base: Path) -> None:
    empty_shop.create_first()
    with pytest.raises(DataError, match="stands on already"):
        rebase(empty_shop.shop, model=MODEL, base_name=str(empty_shop.base_dir))
    with empty_shop.ledger.begin() as tx:
        versions.set_alias(tx, MODEL, versions.PINNED, 1, actor="test", reason="hands off")
    with pytest.raises(Conflict):
        rebase(empty_shop.shop, model=MODEL, base_name=str(other_base), epochs=1)
