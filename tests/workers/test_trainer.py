"""The trainer as what it is: a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, small_training, toy_shop, trains, wait_until
from trimtab.jobs import JobStatus, Lease
from trimtab.ledger import jobs, versions
from trimtab.settings import Settings, as_environment
from workers.trainer import LEASE_LOST


def start(settings: Settings, lease: Lease, *more: str) -> subprocess.Popen[str]:
    argv = [
        sys.executable,
        "-m",
        "workers.trainer",
        lease.job_id,
        str(lease.token),
        "--owner",
        lease.owner,
        *more,
    ]
    environment = os.environ | as_environment(settings) | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def claimed(empty_shop: ToyShop) -> tuple[ToyShop, Lease]:
    """A job on shops that this test holds the lease of."""
    empty_shop.create_first(toy_rows("film", 200), epochs=1)
    job = empty_shop.open_job(empty_shop.stream(toy_rows("shop", 300)))
    return empty_shop, empty_shop.claim(job)


def test_whatever_goes_wrong_the_job_fails_with_class_and_message(claimed: tuple[ToyShop, Lease]) -> None:
    toy, lease = claimed
    with toy.ledger.read() as tx:
        digest = versions.get_version(tx, MODEL, 1).digest
    adapter = toy.settings.home / "store" / "adapters" / str(digest) / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"?")
    process = start(toy.settings, lease)
    process.communicate(timeout=120)
    assert process.returncode == 0
    failed = toy.job(lease.job_id)
    assert failed.status is JobStatus.FAILED
    assert failed.reason.startswith("DigestMismatch: adapter_model.safetensors")


def test_a_lost_lease_ends_it_and_changes_nothing(claimed: tuple[ToyShop, Lease]) -> None:
    toy, lease = claimed
    with toy.ledger.begin() as tx:
        jobs.release(tx, lease)
    process = start(toy.settings, lease)
    process.communicate(timeout=120)
    assert process.returncode == LEASE_LOST
    assert toy.job(lease.job_id).status is JobStatus.QUEUED


def test_without_its_parent_it_does_not_even_begin(claimed: tuple[ToyShop, Lease]) -> None:
    toy, lease = claimed
    process = start(toy.settings, lease, "--parent", "1")
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert toy.job(lease.job_id).progress is None


def test_sigterm_ends_it_without_a_version(tmp_path: Path, tiny_base_dir: Path) -> None:
    with toy_shop(tmp_path, tiny_base_dir, training=small_training(epochs=5000)) as toy:
        toy.create_first(toy_rows("film", 200), epochs=1)
        lease = toy.claim(toy.open_job(toy.stream(toy_rows("shop", 300))))
        process = start(toy.settings, lease)
        wait_until(lambda: trains(toy, lease.job_id), "training")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM
        assert toy.job(lease.job_id).status is JobStatus.RUNNING  # the worker decides what comes next
        with toy.ledger.read() as tx:
            assert versions.get_version(tx, MODEL, 2).state is versions.VersionState.RESERVED
