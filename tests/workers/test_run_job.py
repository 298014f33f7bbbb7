"""A job under supervision, with a real trainer process: every way in which it can end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery.exceptions import WorkerTerminate
from prometheus_client import REGISTRY

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import (
    MODEL,
    ToyShop,
    process_gone,
    small_training,
    toy_shop,
    trainers_of,
    trains,
    wait_until,
)
from trimtab.jobs import AdaptationJob, JobStatus, Lease
from trimtab.ledger import jobs, versions
from trimtab.settings import TrainingSettings
from trimtab.store import CheckpointStore
from workers.run_job import LOOK_S, MAX_ATTEMPTS, POLL_S, remove_checkpoints, run_job

ENDLESS = small_training(epochs=100_000, lease_s=1.5)


@contextmanager
def opened_job(
    home: Path, base_dir: Path, training: TrainingSettings
) -> Iterator[tuple[ToyShop, AdaptationJob]]:
    with toy_shop(home, base_dir, training=training) as toy:
        toy.create_first(toy_rows("film", 200), epochs=1)
        yield toy, toy.open_job(toy.stream(toy_rows("shop", 300)))


@contextmanager
def meanwhile(condition: Callable[[], bool], act: Callable[[], None]) -> Iterator[None]:
    """Acts from another thread once the condition holds; both must have happened at the end."""
    errors: list[AssertionError] = []

    def watch() -> None:
        try:
            wait_until(condition, "the condition")
            act()
        except AssertionError as error:
            errors.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join(60)
    assert not errors


def test_a_job_is_run_to_its_end_and_counted(tmp_path: Path, tiny_base_dir: Path) -> None:
    with opened_job(tmp_path, tiny_base_dir, small_training()) as (toy, job):
        status = run_job(job.id, toy.settings)
        ended = toy.job(job.id)
        assert status is ended.status
        assert ended.status.final
        assert ended.version == 2
        assert ended.lease_owner is None
        labels = {"model": MODEL, "outcome": ended.status.value}
        assert (REGISTRY.get_sample_value("trimtab_jobs_total", labels) or 0) >= 1
        gained = {"model": MODEL, "check": "parity", "result": "pass"}
        assert (REGISTRY.get_sample_value("trimtab_gate_checks_total", gained) or 0) >= 1
        assert REGISTRY.get_sample_value("trimtab_job_running", {"model": MODEL}) == 0
        assert REGISTRY.get_sample_value("trimtab_job_progress_ratio", {"model": MODEL}) == 0
        assert CheckpointStore(toy.settings.store_url).jobs() == set()


def test_a_job_that_somebody_holds_or_that_ended_or_is_unknown_is_left_alone(
    tmp_path: Path, tiny_base_dir: Path
) -> None:
    with opened_job(tmp_path, tiny_base_dir, small_training()) as (toy, job):
        assert run_job("no-such-job", toy.settings) is None
        toy.claim(job)
        assert run_job(job.id, toy.settings) is None
        with toy.ledger.begin() as tx:
            jobs.cancel(tx, job.id)
        assert run_job(job.id, toy.settings) is None
        assert toy.job(job.id).attempts == 1


def test_a_job_that_takes_too_long_times_out(tmp_path: Path, tiny_base_dir: Path) -> None:
    training = ENDLESS.model_copy(update={"max_seconds": 1.0})
    with opened_job(tmp_path, tiny_base_dir, training) as (toy, job):
        assert run_job(job.id, toy.settings) is JobStatus.TIMED_OUT
        assert "TRIMTAB_TRAINING__MAX_SECONDS" in toy.job(job.id).reason


def test_the_time_counts_over_the_attempts(tmp_path: Path, tiny_base_dir: Path) -> None:
    """What workers before have used up is not there for the next one, which is told at once."""
    with opened_job(tmp_path, tiny_base_dir, ENDLESS) as (toy, job):
        assert run_job(job.id, toy.settings, lambda: trains(toy, job.id)) is JobStatus.QUEUED
        worked_s = toy.job(job.id).worked_s
        assert worked_s > 0.0
        training = ENDLESS.model_copy(update={"max_seconds": worked_s})
        assert run_job(job.id, toy.settings.model_copy(update={"training": training})) is JobStatus.TIMED_OUT
        assert toy.job(job.id).lease_token == 2


def test_a_trainer_that_says_nothing_is_ended_at_the_next_look(tmp_path: Path, tiny_base_dir: Path) -> None:
    """It is stopped as by a debugger: it renews nothing, reports nothing, and does not hear SIGTERM."""
    training = ENDLESS.model_copy(update={"lease_s": 600.0})
    looks: list[bool] = []
    with opened_job(tmp_path, tiny_base_dir, training) as (toy, job):

        def count_looks() -> bool:
            if toy.job(job.id).status is JobStatus.CANCELLED:
                looks.append(True)
            return len(looks) > 40

        def stop_and_cancel() -> None:
            os.kill(trainers_of(os.getpid())[0], signal.SIGSTOP)
            with toy.ledger.begin() as tx:
                jobs.cancel(tx, job.id)

        with meanwhile(lambda: trains(toy, job.id), stop_and_cancel):
            assert run_job(job.id, toy.settings, count_looks) is JobStatus.CANCELLED
        assert 1 <= len(looks) <= 1 + LOOK_S / POLL_S
        assert trainers_of(os.getpid()) == []


def test_a_cancelled_job_ends_its_trainer(tmp_path: Path, tiny_base_dir: Path) -> None:
    with opened_job(tmp_path, tiny_base_dir, ENDLESS) as (toy, job):
        seen: list[int] = []

        def cancel() -> None:
            seen.extend(trainers_of(os.getpid()))
            with toy.ledger.begin() as tx:
                jobs.cancel(tx, job.id)

        with meanwhile(lambda: trains(toy, job.id), cancel):
            assert run_job(job.id, toy.settings) is JobStatus.CANCELLED
        assert len(seen) == 1
        assert process_gone(seen[0])


def test_a_lease_that_was_taken_over_ends_the_trainer(tmp_path: Path, tiny_base_dir: Path) -> None:
    with opened_job(tmp_path, tiny_base_dir, ENDLESS) as (toy, job):

        def take_over() -> None:
            with toy.ledger.begin() as tx:
                held = toy.job(job.id)
                assert held.lease_owner is not None
                jobs.release(tx, Lease(job_id=job.id, owner=held.lease_owner, token=held.lease_token))
                jobs.claim(tx, job.id, "another worker", 600.0)

        with meanwhile(lambda: trains(toy, job.id), take_over):
            assert run_job(job.id, toy.settings) is JobStatus.RUNNING
        assert toy.job(job.id).lease_owner == "another worker"
        assert trainers_of(os.getpid()) == []


def test_a_worker_that_stops_gives_the_job_back(tmp_path: Path, tiny_base_dir: Path) -> None:
    with opened_job(tmp_path, tiny_base_dir, ENDLESS) as (toy, job):
        assert run_job(job.id, toy.settings, lambda: trains(toy, job.id)) is JobStatus.QUEUED
        assert toy.job(job.id).reason == "the worker stopped"
        assert trainers_of(os.getpid()) == []


def test_workers_that_are_stopped_do_not_use_up_the_attempts(tmp_path: Path, tiny_base_dir: Path) -> None:
    """A fleet that is rolled out again and again, and then a trainer that dies once."""
    with opened_job(tmp_path, tiny_base_dir, small_training()) as (toy, job):
        for _ in range(MAX_ATTEMPTS):
            assert run_job(job.id, toy.settings, lambda: True) is JobStatus.QUEUED
        assert (toy.job(job.id).attempts, toy.job(job.id).lease_token) == (0, MAX_ATTEMPTS)
        toy.settings.private_key_path.unlink()
        assert run_job(job.id, toy.settings) is JobStatus.QUEUED
        assert toy.job(job.id).attempts == 1


@pytest.mark.parametrize(("raised", "attempts"), [(WorkerTerminate, 0), (OSError, 1)])
def test_a_cold_shutdown_is_no_attempt_but_an_error_is_one(
    tmp_path: Path, tiny_base_dir: Path, raised: type[BaseException], attempts: int
) -> None:
    def stops() -> bool:
        raise raised

    with opened_job(tmp_path, tiny_base_dir, small_training()) as (toy, job):
        with pytest.raises(raised):
            run_job(job.id, toy.settings, stops)
        assert toy.job(job.id).reason == "the worker was interrupted"
        assert toy.job(job.id).attempts == attempts


def test_the_lease_is_renewed_while_the_trainer_runs(tmp_path: Path, tiny_base_dir: Path) -> None:
    with opened_job(tmp_path, tiny_base_dir, ENDLESS) as (toy, job):
        ends: set[float] = set()

        shown: set[float | None] = set()

        def renewed_while_it_trains() -> bool:
            ends.add(toy.job(job.id).lease_expires_at or 0.0)
            shown.add(REGISTRY.get_sample_value("trimtab_job_progress_ratio", {"model": MODEL}))
            return len(ends) > 2 and any(shown)

        assert run_job(job.id, toy.settings, renewed_while_it_trains) is JobStatus.QUEUED
        assert all(0.0 <= share <= 1.0 for share in shown if share is not None)


def test_a_trainer_that_dies_is_tried_again_and_then_given_up(tmp_path: Path, tiny_base_dir: Path) -> None:
    with opened_job(tmp_path, tiny_base_dir, small_training()) as (toy, job):
        toy.settings.private_key_path.unlink()
        for attempt in range(1, MAX_ATTEMPTS):
            assert run_job(job.id, toy.settings) is JobStatus.QUEUED
            assert toy.job(job.id).attempts == attempt
        assert run_job(job.id, toy.settings) is JobStatus.FAILED
        failed = toy.job(job.id)
        assert failed.reason.startswith("the trainer ended with exit code 1; ")
        assert "SettingsError: TRIMTAB_SIGNING__PRIVATE_KEY" in failed.reason
        with toy.ledger.read() as tx:
            assert versions.get_aliases(tx, MODEL)["champion"] == 1


@pytest.mark.parametrize("attempts", [MAX_ATTEMPTS])
def test_a_job_whose_workers_keep_dying_is_given_up(
    tmp_path: Path, tiny_base_dir: Path, attempts: int
) -> None:
    """Workers that die themselves leave no word: the attempts are counted at the claim."""
    with opened_job(tmp_path, tiny_base_dir, small_training()) as (toy, job):
        for _ in range(attempts):
            toy.claim(job, ttl_s=-1.0)
        assert run_job(job.id, toy.settings) is None
        assert toy.job(job.id).status is JobStatus.FAILED


def test_checkpoints_go_with_their_jobs(tmp_path: Path, tiny_base_dir: Path) -> None:
    """Those of a job that ended elsewhere too; those of a job that goes on, or that another ledger knows, stay."""
    with opened_job(tmp_path, tiny_base_dir, small_training()) as (toy, job):
        store, unknown = CheckpointStore(toy.settings.store_url), "f" * 32
        for job_id in (job.id, unknown):
            store.put(job_id, "0" * 64, b"x")
        remove_checkpoints(toy.ledger, toy.settings.store_url)
        assert store.jobs() == {job.id, unknown}
        with toy.ledger.begin() as tx:
            jobs.cancel(tx, job.id)
        remove_checkpoints(toy.ledger, toy.settings.store_url)
        assert store.jobs() == {unknown}
