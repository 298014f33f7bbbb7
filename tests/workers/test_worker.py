"""Real worker processes on a real Valkey: a nudge, a lost worker, an orderly stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from service.valkey import ValkeyServer
from tests.fixtures.deployment import flushed
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
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import events, versions
from trimtab.ledger.consumers import live_workers
from trimtab.settings import Settings, TrainingSettings, as_environment
from workers.app import configure, nudge

RUN = """
import sys
from trimtab.settings import read_settings
from workers.worker import run_worker
sys.exit(run_worker(read_settings(), ready=lambda: print("ready", flush=True)))
"""
ENDLESS = small_training(epochs=100_000, lease_s=2.0)
SHORT = small_training(epochs=1, lease_s=2.0)


@contextmanager
def worker(settings: Settings, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A worker process that has said it is ready."""
    full = os.environ | as_environment(settings) | {"OMP_NUM_THREADS": "1"} | environment
    process = subprocess.Popen([sys.executable, "-c", RUN], env=full, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def with_training(settings: Settings, training: TrainingSettings) -> Settings:
    return settings.model_copy(update={"training": training})


@pytest.fixture
def opened(
    tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer, redis_client: redis.Redis
) -> Iterator[tuple[ToyShop, AdaptationJob]]:
    """A queued job on shops, and an empty queue."""
    with toy_shop(tmp_path, tiny_base_dir, redis_url=flushed(valkey.url), training=ENDLESS) as toy:
        configure(toy.settings)
        toy.create_first(toy_rows("film", 200), epochs=1)
        yield toy, toy.open_job(toy.stream(toy_rows("shop", 300)))


def reported(toy: ToyShop) -> list[str]:
    with toy.ledger.read() as tx:
        return live_workers(tx, toy.settings.training.queue)


def ended(toy: ToyShop, job: AdaptationJob) -> bool:
    return toy.job(job.id).status.final


def test_a_nudge_is_enough_and_a_second_one_harmless(
    opened: tuple[ToyShop, AdaptationJob], redis_client: redis.Redis
) -> None:
    toy, job = opened
    subscription = redis_client.pubsub(ignore_subscribe_messages=True)
    subscription.subscribe("trimtab:generation")
    with worker(with_training(toy.settings, SHORT)):
        nudge(job.id)
        nudge(job.id)
        wait_until(lambda: ended(toy, job), "the end of the job")
        wait_until(lambda: redis_client.llen("adapt") == 0, "an empty queue")
        wait_until(lambda: redis_client.hlen("unacked") == 0, "both messages acknowledged")
    assert toy.job(job.id).attempts == 1
    promoted = toy.job(job.id).status is JobStatus.PROMOTED
    assert (subscription.get_message(timeout=0.2) is not None) == promoted
    subscription.close()


def test_a_worker_killed_in_mid_training_is_replaced_and_the_job_finishes_once(
    opened: tuple[ToyShop, AdaptationJob],
) -> None:
    toy, job = opened
    with worker(toy.settings) as first:
        nudge(job.id)
        wait_until(lambda: trains(toy, job.id), "training")
        (trainer,) = trainers_of(first.pid)
        first.kill()
        wait_until(lambda: process_gone(trainer), "the trainer's end")
    with worker(with_training(toy.settings, SHORT)):

        def nudged_and_ended() -> bool:
            nudge(job.id)  # as the monitor does for a job whose lease has expired
            return ended(toy, job)

        wait_until(nudged_and_ended, "the end of the job")
    finished = toy.job(job.id)
    assert finished.attempts == 2
    assert finished.lease_token == 2
    assert finished.version == 2
    with toy.ledger.read() as tx:
        assert [version.n for version in versions.list_versions(tx, MODEL)] == [1, 2]
        kinds = [event.kind for event in events.list_events(tx)]
    assert kinds.count("job_finished") == 1
    assert kinds.count("version_recorded") == 2


@pytest.mark.parametrize(
    "environment", [{}, {"REMAP_SIGTERM": "SIGQUIT"}], ids=["plain", "remapped to a cold stop"]
)
def test_a_worker_that_is_asked_to_stop_gives_the_job_back_at_once(
    opened: tuple[ToyShop, AdaptationJob], environment: dict[str, str]
) -> None:
    toy, job = opened
    with worker(toy.settings, **environment) as process:
        nudge(job.id)
        wait_until(lambda: trains(toy, job.id), "training")
        (trainer,) = trainers_of(process.pid)
        (name,) = reported(toy)
        assert name.startswith(f"trimtab-{process.pid}@")
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert process_gone(trainer)
    assert reported(toy) == []
    assert toy.job(job.id).status is JobStatus.QUEUED
