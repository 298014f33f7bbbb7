"""From a real adaptation to the step back: recipe, gate, promotion, the monitor's watch, what the next job may read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from monitoring.monitor import tick
from monitoring.station import Station, open_station
from service.valkey import ValkeyServer
from tests.fixtures.deployment import flushed
from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, toy_shop
from trimtab.jobs import JobStatus
from trimtab.ledger import examples, feedback, gate_history, jobs, samples, versions
from trimtab.ledger.feedback import FeedbackItem
from trimtab.ledger.versions import VersionState
from trimtab.settings import PolicySettings, SamplesSettings
from workers.adapt import run_adaptation
from workers.material import gather


@pytest.fixture
def toy(
    tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer, redis_client: redis.Redis
) -> Iterator[ToyShop]:
    policy = PolicySettings(watch_events=300, cooldown_s=100.0)
    kept = SamplesSettings(retention="20000d")  # the toy traffic is old
    with toy_shop(tmp_path, tiny_base_dir, flushed(valkey.url), policy=policy, samples=kept) as opened:
        opened.create_first()
        yield opened


def serves(toy: ToyShop) -> int:
    with toy.ledger.read() as tx:
        return versions.get_aliases(tx, MODEL)["champion"]


def answer(toy: ToyShop, station: Station, n: int, *, share_right: float, seed: int) -> None:
    """Version 2 answers so many times, and labels say that it was right so often."""
    first = toy.stream(toy_rows("shop", n, seed=seed), version=2, labelled=False, name=f"after{seed}")
    with toy.ledger.begin() as tx:
        rows = samples.window_rows(tx, MODEL, first, n)
        other = dict(zip(LABELS, reversed(LABELS), strict=True))
        items = [
            FeedbackItem(
                prediction_id=row.prediction_id, label=row.label if i < share_right * n else other[row.label]
            )
            for i, row in enumerate(rows)
        ]
        feedback.record_feedback(tx, items)
    assert tick(station)


def test_a_promoted_version_that_turns_out_bad_leaves_nothing_behind(toy: ToyShop) -> None:
    first_seq = toy.stream(toy_rows("shop", 400), name="new")
    job = toy.open_job(first_seq)
    with open_station(toy.settings, lambda _: None) as station:
        assert tick(station)
        assert run_adaptation(toy.shop, toy.claim(job)) is JobStatus.PROMOTED, toy.job(job.id).reason
        assert tick(station)
        answer(toy, station, 100, share_right=1.0, seed=21)
        assert serves(toy) == 2
        with toy.ledger.read() as tx:
            learnt = [each for each in examples.list_examples(tx, MODEL, "memory") if each.domain == "shop"]
        assert learnt
        assert all(each.probation for each in learnt)
        answer(toy, station, 120, share_right=0.4, seed=22)
        assert serves(toy) == 1
        assert tick(station)
    with toy.ledger.read() as tx:
        version = versions.get_version(tx, MODEL, 2)
        (window,) = gate_history.quarantined(tx, MODEL)
        for role in examples.ROLES:
            assert {each.domain for each in examples.list_examples(tx, MODEL, role)} == {"film"}
        noted = jobs.get_job(tx, job.id)
    assert version.state is VersionState.ROLLED_BACK
    assert (window.from_seq, window.to_seq, window.job_id) == (first_seq, first_seq + 399, job.id)
    assert (noted.status, "rolled back" in noted.reason) == (JobStatus.PROMOTED, True)
    with toy.ledger.read() as tx:
        material = gather(tx, replace(job, cause={}), budget=100)
    assert material.n_window == 220  # what came after the window that was quarantined


def test_a_promoted_version_that_is_good_is_kept_with_what_it_learnt(toy: ToyShop) -> None:
    job = toy.open_job(toy.stream(toy_rows("shop", 400), name="new"))
    with open_station(toy.settings, lambda _: None) as station:
        assert tick(station)
        run_adaptation(toy.shop, toy.claim(job))
        assert tick(station)
        answer(toy, station, 310, share_right=1.0, seed=23)
        assert tick(station)
    assert serves(toy) == 2
    with toy.ledger.read() as tx:
        memory = examples.list_examples(tx, MODEL, "memory")
        assert gate_history.quarantined(tx, MODEL) == []
    assert {each.domain for each in memory} == {"film", "shop"}
    assert not any(each.probation for each in memory)
