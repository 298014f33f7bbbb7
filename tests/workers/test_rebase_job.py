"""A rebase is a job: nothing runs beside it, it can be cancelled, taken over and watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.station import open_station
from monitoring.watch import catch_up
from tests.fixtures.tiny_base import build_tiny_base
from tests.fixtures.workshops import MODEL, ToyShop, toy_shop
from trimtab.base import load_base
from trimtab.drift import MonitorState
from trimtab.errors import Conflict, JobInFlight, LeaseLost
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import gate_history, jobs, versions
from trimtab.ledger.examples import list_examples, retire
from trimtab.ledger.versions import VersionState
from trimtab.settings import GateSettings
from workers.rebase import open_claimed, rebase
from workers.trainer import end_job

LENIENT = GateSettings(max_forgetting=0.2)  # the toy's gate set is small


@pytest.fixture(scope="module")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_base(tmp_path_factory.mktemp("other"), seed=5))


def its_job(toy: ToyShop) -> AdaptationJob:
    with toy.ledger.read() as tx:
        (job,) = jobs.list_jobs(tx, MODEL)
    return job


def champion_of(toy: ToyShop) -> int:
    with toy.ledger.read() as tx:
        return versions.get_aliases(tx, MODEL)["champion"]


def test_it_ends_promoted_is_counted_and_watched(
    tmp_path: Path, tiny_base_dir: Path, other_base: str
) -> None:
    with toy_shop(tmp_path, tiny_base_dir, gate=LENIENT) as toy:
        toy.create_first()
        beside: list[str] = []

        def report(stage: str, _step: int, _of: int) -> None:
            if stage == "training" and not beside:
                with pytest.raises(JobInFlight) as refused:
                    toy.open_job(1)
                beside.append(str(refused.value))

        found = rebase(toy.shop, model=MODEL, base_name=other_base, epochs=10, report=report)
        job = its_job(toy)
        assert beside == [f"Job {job.id} of {MODEL!r} is running."]
        assert (found.status, found.version) == (job.status, job.version) == (JobStatus.PROMOTED, 2)
        assert (job.plan or {})["method"] == "rebase"
        assert (job.verdict or {})["verdict"] == "promote"
        assert toy.shop.checkpoints.jobs() == set()
        with toy.ledger.begin() as tx, open_station(toy.settings, lambda _: None) as station:
            assert versions.get_version(tx, MODEL, 2).job_id == job.id
            assert gate_history.uses(tx, MODEL) == {"film": 1}
            state = catch_up(tx, MonitorState(model=MODEL, version=1), station)
        assert (state.version, state.watching_version, state.unhelpful) == (2, 2, 0)


def test_a_cancelled_one_publishes_nothing(empty_shop: ToyShop, other_base: str) -> None:
    empty_shop.create_first()

    def cancel(stage: str, step: int, _of: int) -> None:
        if (stage, step) == ("training", 3):
            with empty_shop.ledger.begin() as tx:
                jobs.cancel(tx, its_job(empty_shop).id)

    with pytest.raises(LeaseLost):
        rebase(empty_shop.shop, model=MODEL, base_name=other_base, epochs=1, report=cancel)
    assert its_job(empty_shop).status is JobStatus.CANCELLED
    with empty_shop.ledger.read() as tx:
        assert versions.get_version(tx, MODEL, 2).state is VersionState.RESERVED


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), JobStatus.CANCELLED), (OSError("no space left"), JobStatus.FAILED)],
)
def test_one_that_breaks_off_ends_with_the_reason(
    empty_shop: ToyShop, other_base: str, error: BaseException, status: JobStatus
) -> None:
    empty_shop.create_first()

    def break_off(stage: str, _step: int, _of: int) -> None:
        if stage == "gate":
            raise error

    with pytest.raises(type(error)):
        rebase(empty_shop.shop, model=MODEL, base_name=other_base, epochs=0, report=break_off)
    job = its_job(empty_shop)
    assert job.status is status
    assert job.reason in {"interrupted", "OSError: no space left"}
    assert empty_shop.shop.checkpoints.jobs() == set()


def test_a_champion_that_is_pinned_meanwhile_stays(
    tmp_path: Path, tiny_base_dir: Path, other_base: str
) -> None:
    with toy_shop(tmp_path, tiny_base_dir, gate=LENIENT) as toy:
        toy.create_first()

        def pin(stage: str, _step: int, _of: int) -> None:
            if stage == "publishing":
                with toy.ledger.begin() as tx:
                    versions.set_alias(tx, MODEL, versions.PINNED, 1, actor="test", reason="hands off")

        found = rebase(toy.shop, model=MODEL, base_name=other_base, epochs=10, report=pin)
        assert "pinned" in found.reason
        assert (found.status, champion_of(toy)) == (JobStatus.HELD, 1)
        with pytest.raises(Conflict, match="pinned"):
            rebase(toy.shop, model=MODEL, base_name=other_base)


@pytest.mark.parametrize("base_stays", [True, False])
def test_a_worker_goes_on_when_the_command_died(
    tmp_path: Path, tiny_base_dir: Path, base_stays: bool
) -> None:
    other = build_tiny_base(tmp_path / "other", seed=5)
    with toy_shop(tmp_path, tiny_base_dir, gate=LENIENT) as toy:
        toy.create_first()
        lease = open_claimed(toy.shop, MODEL, load_base(str(other), "cpu"), epochs=10)
        with toy.ledger.begin() as tx:
            jobs.renew(tx, lease, -1.0)
            assert [job.id for job in jobs.claimable_jobs(tx)] == [lease.job_id]
        if not base_stays:
            other.rename(tmp_path / "moved away")
        taken = toy.claim(its_job(toy), "worker")
        with pytest.raises(LeaseLost), toy.ledger.begin() as tx:
            jobs.check(tx, lease)
        assert end_job(toy.shop, taken) is (JobStatus.PROMOTED if base_stays else JobStatus.FAILED)
        assert champion_of(toy) == (2 if base_stays else 1)
        assert base_stays or its_job(toy).reason.startswith("BaseModelMissing: ")


def test_retired_examples_judge_no_more(tmp_path: Path, tiny_base_dir: Path, other_base: str) -> None:
    with toy_shop(tmp_path, tiny_base_dir, gate=LENIENT) as toy:
        toy.create_first()
        before = gate_examples(toy)
        with toy.ledger.begin() as tx:
            retire(tx, MODEL, before[:10], 1, roles=("gate",))
        found = rebase(toy.shop, model=MODEL, base_name=other_base, epochs=0)
        assert found.scores["film"][0].n == len(before) - 10


def gate_examples(toy: ToyShop) -> list[str]:
    with toy.ledger.read() as tx:
        return [example.key for example in list_examples(tx, MODEL, "gate")]
