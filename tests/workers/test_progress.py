from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import ToyShop
from trimtab.errors import LeaseLost
from trimtab.ledger import jobs
from workers.progress import JobProgress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def running(empty_shop: ToyShop) -> tuple[ToyShop, Any]:
    empty_shop.create_first(toy_rows("film", 60), epochs=1)
    job = empty_shop.open_job(0)
    return empty_shop, empty_shop.claim(job)


def test_it_writes_at_most_once_a_second_and_tells_the_rest(running: tuple[ToyShop, Any]) -> None:
    toy, lease = running
    clock = Clock()
    report = JobProgress(toy.ledger, lease, clock)
    report("training", 0, 100)
    assert toy.job(lease.job_id).progress == {"stage": "training", "step": 0, "of": 100, "eta_s": None}
    clock.now += 0.5
    report("training", 10, 100)
    assert (toy.job(lease.job_id).progress or {})["step"] == 0
    clock.now += 1.5
    report("training", 20, 100)
    assert toy.job(lease.job_id).progress == {"stage": "training", "step": 20, "of": 100, "eta_s": 8.0}


def test_a_new_stage_and_the_last_step_are_written_at_once(running: tuple[ToyShop, Any]) -> None:
    toy, lease = running
    report = JobProgress(toy.ledger, lease, Clock())
    report("training", 1, 3)
    report("training", 3, 3)
    assert (toy.job(lease.job_id).progress or {})["step"] == 3
    report("gate", 0, 2)
    assert (toy.job(lease.job_id).progress or {})["stage"] == "gate"


def test_a_lost_lease_ends_the_work(running: tuple[ToyShop, Any]) -> None:
    toy, lease = running
    with toy.ledger.begin() as tx:
        jobs.cancel(tx, lease.job_id)
    with pytest.raises(LeaseLost):
        JobProgress(toy.ledger, lease)("training", 1, 3)
