from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import ToyShop
from trimtab.errors import LeaseLost
from trimtab.jobs import JobStatus, Lease
from trimtab.ledger import jobs
from workers.progress import JobProgress, StepsInPlan, stages_of


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
    assert told(toy, lease) == {"stage": "training", "step": 0, "of": 100, "eta_s": None}
    clock.now += 0.5
    report("training", 10, 100)
    assert (toy.job(lease.job_id).progress or {})["step"] == 0
    clock.now += 1.5
    report("training", 20, 100)
    assert told(toy, lease) == {"stage": "training", "step": 20, "of": 100, "eta_s": 8.0}


def told(toy: ToyShop, lease: Lease) -> dict[str, Any]:
    """Where it stands, without the stages that it went through."""
    progress = dict(toy.job(lease.job_id).progress or {})
    progress.pop("stages")
    return progress


def test_the_stages_are_kept_with_their_times_until_the_end(running: tuple[ToyShop, Any]) -> None:
    toy, lease = running
    report = JobProgress(toy.ledger, lease, Clock())
    for stage, step in (("reading", 0), ("head", 0), ("training", 0), ("training", 3), ("head", 1)):
        report(stage, step, 9)
    with toy.ledger.begin() as tx:
        jobs.finish(tx, lease, JobStatus.HELD)
    ended = toy.job(lease.job_id)
    stages = stages_of(ended)
    assert [stage.name for stage in stages] == ["reading", "head", "training", "head"]
    assert [stage.began_at for stage in stages[1:]] == [stage.ended_at for stage in stages[:-1]]
    assert stages[-1].ended_at == ended.finished_at
    assert all(stage.ended_at >= stage.began_at for stage in stages)
    assert stages[-1].cpu_s is None
    assert all(stage.cpu_s is not None and stage.cpu_s >= 0.0 for stage in stages[:-1])
    assert stages_of(replace(ended, progress=None)) == ()


def test_the_steps_of_a_fit_are_kept_in_the_plan(running: tuple[ToyShop, Any]) -> None:
    toy, lease = running
    steps = StepsInPlan(toy.ledger, lease)
    assert [steps("a" * 64, n) for n in (84, 12)] == [84, 84]
    assert toy.job(lease.job_id).plan == {"steps": {"a" * 64: 84}}
    with toy.ledger.begin() as tx:
        jobs.cancel(tx, lease.job_id)
    with pytest.raises(LeaseLost):
        steps("b" * 64, 12)


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
