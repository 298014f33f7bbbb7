"""An adaptation to a file, by a remedy that somebody asked for."""

from __future__ import annotations

import pytest

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import MODEL, ToyShop
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs, versions
from trimtab.ledger.examples import domains
from trimtab.ledger.given import Given, keep_given
from workers.adapt import run_adaptation


def run(toy: ToyShop, n: int, method: str) -> dict[str, object]:
    """The manifest's plan of the version that the job made, or what the job says."""
    with toy.ledger.begin() as tx:
        cause = {"kind": "manual", "method": method}
        job = jobs.open_job(tx, MODEL, cause=cause, domain="shop", window_from_seq=1)
        keep_given(tx, MODEL, job.id, [Given(row.text, row.label) for row in toy_rows("shop", n)])
    run_adaptation(toy.shop, toy.claim(job))
    ended = toy.job(job.id)
    with toy.ledger.read() as tx:
        plan = versions.get_version(tx, MODEL, ended.version).manifest["plan"] if ended.version else {}
        return {
            "status": ended.status,
            "reason": ended.reason,
            "plan": plan,
            "gates": domains(tx, MODEL, "gate"),
        }


def test_a_file_is_learnt_from_by_the_remedy_that_was_asked_for(empty_shop: ToyShop) -> None:
    empty_shop.create_first()
    made = run(empty_shop, 400, "lora")
    assert made["status"] is JobStatus.PROMOTED
    plan = made["plan"]
    assert isinstance(plan, dict)
    assert plan["method"].startswith("lora")
    assert [rival["name"] for rival in plan["rivals"]] == ["lora"]
    assert made["gates"] == ["film", "shop"]


@pytest.mark.parametrize("method", ["head"])
def test_a_remedy_that_declines_holds_the_job(empty_shop: ToyShop, method: str) -> None:
    empty_shop.create_first()
    made = run(empty_shop, 10, method)
    assert made["status"] is JobStatus.HELD
    assert "8 are needed" in str(made["reason"])
