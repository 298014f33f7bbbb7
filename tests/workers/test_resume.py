"""A trainer that is killed while it trains: whoever takes over ends with the very same adapter."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, small_training, toy_shop, wait_until
from trimtab.adapter import HEAD, WEIGHTS, AdapterManifest
from trimtab.jobs import JobStatus, Lease
from trimtab.ledger import feedback, jobs, versions
from trimtab.ledger.feedback import FeedbackItem
from trimtab.settings import GateSettings
from trimtab.store import AdapterStore
from workers.trainer import train

STEPS = (1, 12, 36, 84, 120)  # kept, at least, when the trainer is killed; the fit has 12 steps an epoch
TRAINING = small_training(epochs=14)
Made = tuple[AdapterManifest, bytes, bytes]


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> ForkServerContext:
    """Processes of their own that need not load torch anew: forked from one that has only imported it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["workers.trainer", "workers.adapt", "transformers.models.bert.modeling_bert"]
    )
    return context


@contextmanager
def opened(home: Path, base_dir: Path) -> Iterator[tuple[ToyShop, Callable[[], Lease]]]:
    """A job that asks for LoRA; each call takes its lease over as the next worker."""
    with toy_shop(home, base_dir, training=TRAINING, gate=GateSettings(mode="off")) as toy:
        toy.create_first(toy_rows("film", 200), epochs=1)
        first_seq = toy.stream(toy_rows("shop", 300))
        cause = {"kind": "test", "method": "lora"}
        with toy.ledger.begin() as tx:
            job = jobs.open_job(tx, MODEL, cause=cause, domain="", window_from_seq=first_seq)
        yield toy, lambda: toy.claim(job, ttl_s=-1.0)


def step_kept(toy: ToyShop, job_id: str) -> int:
    """The step of the job's checkpoint, read as the plain file that it is."""
    folder = toy.settings.home / "store" / "checkpoints" / job_id
    contents = [file.read_bytes() for file in folder.glob("*") if "#" not in file.name]
    return max((json.loads(each[64:].partition(b"\n")[0])["step"] for each in contents), default=0)


def killed_at(trainers: ForkServerContext, toy: ToyShop, lease: Lease, step: int) -> None:
    """Starts a trainer and ends it by SIGKILL once its checkpoint has this step."""
    process: ForkServerProcess = trainers.Process(target=train, args=(toy.settings, lease))
    process.start()
    wait_until(lambda: step_kept(toy, lease.job_id) >= step or not process.is_alive(), f"step {step}")
    process.kill()
    process.join()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path) -> Made:
    """What a trainer makes that nobody kills."""
    with opened(tmp_path_factory.mktemp("whole"), tiny_base_dir) as (toy, take):
        lease = take()
        train(toy.settings, lease)
        return made(toy, lease.job_id)


def made(toy: ToyShop, job_id: str) -> Made:
    ended = toy.job(job_id)
    assert ended.status in {JobStatus.PROMOTED, JobStatus.REJECTED, JobStatus.HELD}, ended.reason
    assert ended.version is not None
    with toy.ledger.read() as tx:
        digest = versions.get_version(tx, MODEL, ended.version).digest
    files = AdapterStore(toy.settings.store_url).get(str(digest))
    return AdapterManifest.from_bytes(files["manifest.json"]), files[WEIGHTS], files[HEAD]


def test_killed_at_five_points_it_ends_with_the_same_adapter(
    tmp_path: Path, tiny_base_dir: Path, trainers: ForkServerContext, undisturbed: Made
) -> None:
    whole, *weights = undisturbed
    with opened(tmp_path, tiny_base_dir) as (toy, take):
        kept = []
        for step in STEPS:
            killed_at(trainers, toy, take(), step)
            kept.append(step_kept(toy, lease_of(toy)))
        last = take()
        train(toy.settings, last)
        manifest, *others = made(toy, last.job_id)
        assert toy.job(last.job_id).attempts == len(STEPS) + 1
    assert kept == sorted(kept)
    assert kept[0] < whole.training["steps"]
    assert (whole.training["resumed_at"], manifest.training["resumed_at"]) == (0, kept[-1])
    assert manifest.training["steps"] == whole.training["steps"] == whole.training["planned"]
    assert others == weights


def test_labels_that_arrive_meanwhile_are_left_to_the_next_job(
    tmp_path: Path, tiny_base_dir: Path, trainers: ForkServerContext, undisturbed: Made
) -> None:
    """Killed, then more traffic and more labels: the fit goes on where it was, with the steps that its plan has."""
    whole, *weights = undisturbed
    with opened(tmp_path, tiny_base_dir) as (toy, take):
        killed_at(trainers, toy, take(), STEPS[2])
        begun = toy.job(lease_of(toy))
        toy.stream(toy_rows("shop", 200, seed=5), name="late")
        with toy.ledger.begin() as tx:
            feedback.record_feedback(tx, [item("s1", "another")])
        last = take()
        train(toy.settings, last)
        manifest, *others = made(toy, last.job_id)
        ended = toy.job(last.job_id)
    assert manifest.training["resumed_at"] >= STEPS[2]
    assert others == weights
    assert manifest.data == whole.data
    assert ended.extent == begun.extent is not None
    assert list((ended.plan or {})["steps"].values()) == [whole.training["steps"]]


def item(prediction_id: str, annotator: str) -> FeedbackItem:
    return FeedbackItem(prediction_id=prediction_id, label="negative", annotator=annotator)


def lease_of(toy: ToyShop) -> str:
    with toy.ledger.read() as tx:
        return jobs.list_jobs(tx, MODEL)[0].id
