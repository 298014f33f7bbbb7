"""A version that is held and then promoted by a person brings its domain along, and takes it away again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, small_training, toy_shop
from trimtab.adapter import REFERENCES
from trimtab.drift import DriftKind
from trimtab.features import References
from trimtab.jobs import JobStatus
from trimtab.ledger import examples, jobs, versions
from trimtab.ledger.examples import ROLES, Example
from trimtab.settings import GateSettings
from workers.material import gather
from workers.workshop import load_version

Kept = dict[str, list[Example]]


def promote(toy: ToyShop, n: int) -> None:
    with toy.ledger.begin() as tx:
        versions.promote(tx, MODEL, n, actor="operator", reason="by hand")


def kept(toy: ToyShop) -> Kept:
    """What is read of each role."""
    with toy.ledger.read() as tx:
        return {role: examples.list_examples(tx, MODEL, role) for role in ROLES}


def domains(found: Kept) -> dict[str, set[str]]:
    return {role: {each.domain for each in rows if each.retired_by is None} for role, rows in found.items()}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path) -> Iterator[ToyShop]:
    """A gate that promotes nothing by itself: version 1 knows films, version 2 of shops is held."""
    gate, training = GateSettings(mode="hold", max_forgetting=0.2), small_training(epochs=2)
    home = tmp_path_factory.mktemp("held")
    with toy_shop(home, tiny_base_dir, gate=gate, training=training) as opened:
        opened.create_first(toy_rows("film", 400), epochs=4)
        yield opened


def test_its_domain_enters_with_it_and_the_next_job_keeps_it(toy: ToyShop) -> None:
    before = kept(toy)
    job = toy.adapt(toy.stream(toy_rows("shop", 300)), DriftKind.COVARIATE_HARMFUL)
    assert (job.status, job.version) == (JobStatus.HELD, 2), job.reason
    assert kept(toy) == before
    promote(toy, 2)
    after = kept(toy)
    assert domains(after) == {role: {"film", "shop"} for role in ROLES}
    assert {(each.version, each.probation) for rows in after.values() for each in rows if each.domain == "shop"} == {
        (2, True)
    }  # fmt: skip
    news = [replace(row, domain="news") for row in toy_rows("film", 300, seed=4)]
    later = toy.adapt(toy.stream(news, version=2, name="n"), DriftKind.COVARIATE_HARMFUL)
    assert later.version == 3, later.reason
    assert {"forgetting:film", "forgetting:shop"} <= {
        check["name"] for check in (later.verdict or {})["checks"]
    }
    third = References.from_bytes(load_version(toy.shop, None, MODEL, 3).files[REFERENCES])
    assert set(third.rows) == {"film", "shop", "news"}
    with toy.ledger.begin() as tx:
        versions.rollback(tx, MODEL, actor="operator", reason="worse")
    assert {role: [each.key for each in rows] for role, rows in kept(toy).items()} == {
        role: [each.key for each in rows] for role, rows in before.items()
    }


def test_what_it_found_untrue_is_out_of_use_from_then_on(toy: ToyShop) -> None:
    opposite = dict(zip(LABELS, reversed(LABELS), strict=True))
    rows = [replace(row, label=opposite[row.label]) for row in toy_rows("film", 500, seed=9)]
    before = kept(toy)
    job = toy.adapt(toy.stream(rows, name="c"), DriftKind.CONCEPT)
    assert job.status is JobStatus.HELD, job.reason
    assert kept(toy) == before
    assert job.version is not None
    promote(toy, job.version)
    for role in ("memory", "gate", "selection"):
        films = [each for each in kept(toy)[role] if each.domain == "film"]
        assert {each.retired_by for each in films} == {job.version}
    with toy.ledger.begin() as tx:
        versions.rollback(tx, MODEL, actor="operator", reason="worse")
    assert domains(kept(toy)) == {role: {"film"} for role in ROLES}


def test_a_domain_that_came_without_labels_keeps_its_name(toy: ToyShop) -> None:
    """It has references and no gate set: the next domain that clients do not name is another one."""
    quiet = Example(
        model=MODEL, domain="domain-2", role="reference", text="q", key="q", version=2, probation=True
    )
    unnamed = [replace(row, domain=None) for row in toy_rows("shop", 40, seed=3)]
    job = toy.open_job(toy.stream(unnamed, name="u", labelled=False))
    with toy.ledger.begin() as tx:
        examples.add_examples(tx, [quiet])
        assert gather(tx, job, budget=50).domain == "domain-3"
        examples.remove_probation(tx, MODEL, 2)
        jobs.cancel(tx, job.id)
