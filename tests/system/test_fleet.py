"""A fleet of real processes on PostgreSQL, S3 and Redis with TLS: promotions under load, kills, freezes, failover.

Three replicas, two workers, two monitors. Answers are held against the versions that they name; samples are counted.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from service.app import redis_client
from service.client import ApiClient
from service.demo.probe import Scores, expected_scores, purity
from service.hints import send_hint
from tests.fixtures.fleets import READY_S, Fleet, Member, running_fleet
from tests.fixtures.loads import TEXTS, Load
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.s3 import S3Server
from tests.fixtures.tls_redis import running_tls_redis, tls_redis_binary
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.versions import make_version
from tests.fixtures.workshops import small_training, toy_shop, trains, wait_until
from trimtab.base import load_base
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs, replicas, samples, versions
from trimtab.ledger.schema import predictions
from trimtab.ledger.versions import VersionState
from trimtab.settings import (
    DriftSettings,
    LedgerSettings,
    MonitorSettings,
    ServerSettings,
    SigningSettings,
    StoreSettings,
)
from workers.app import configure, nudge

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(900)]
VERSIONS = (1, 2, 3)
PROMOTIONS = 50


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path, postgres: PostgresServer, s3: S3Server
) -> Iterator[tuple[Fleet, list[Member]]]:
    """Model `toy` with versions 1 (trained), 2 and 3 (random), served by three replicas."""
    binary = tls_redis_binary()
    if binary is None:
        pytest.skip("redis-server is not installed: tests/system/install.sh installs it")
    directory = tmp_path_factory.mktemp("fleet")
    with pytest.MonkeyPatch.context() as patch, running_tls_redis(binary, directory) as redis_url:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        groups = {
            "ledger": LedgerSettings(url=postgres.url(postgres.create_database())),
            "store": StoreSettings(url=f"{s3.create_bucket()}/fleet"),
            "signing": SigningSettings(private_key=directory / "signing.pem", public_key=directory / "verify.pem"),
            "server": ServerSettings(poll_s=0.2),
            "monitor": MonitorSettings(tick_s=0.1, lease_s=1.5),
            "drift": DriftSettings(act_on="none"),
            "training": small_training(lease_s=5.0),
        }  # fmt: skip
        with toy_shop(directory / "home", tiny_base_dir, redis_url, **groups) as toy:
            toy.create_first(toy_rows("film", 200), epochs=1)
            base = load_base(str(tiny_base_dir), "cpu")
            for n in VERSIONS[1:]:
                digest = toy.shop.store.put(make_version(base, toy.shop.private_key, version=n, seed=n))
                with toy.ledger.begin() as tx:
                    versions.record_version(tx, "toy", n, digest, 1, VersionState.ACCEPTED, manifest={})
                    versions.set_alias(tx, "toy", ALIASES[n], n, actor="test", reason="stays loaded")
            with running_fleet(toy, directory, s3.environment, replicas=3, workers=2, monitors=2) as fleet:
                yield fleet


ALIASES = {2: "challenger", 3: "baseline"}


@pytest.fixture
def fleet(running: tuple[Fleet, list[Member]]) -> Fleet:
    return running[0]


@pytest.fixture
def serving(running: tuple[Fleet, list[Member]]) -> list[Member]:
    return running[1]


@pytest.fixture
def expected(serving: list[Member]) -> dict[int, tuple[Scores, ...]]:
    with ApiClient(serving[0].url) as client:
        return {n: expected_scores(client, "toy", TEXTS, n) for n in VERSIONS}


def urls(members: list[Member]) -> list[str]:
    return [member.url for member in members]


def promote(fleet: Fleet, n: int) -> int:
    """Promotes and hints as the command line does; gives the generation."""
    with fleet.toy.ledger.begin() as tx:
        generation = versions.promote(tx, "toy", n, actor="test", reason="test")
    with redis_client(fleet.settings.redis_url) as client:
        send_hint(client, "toy")
    return generation


def champion(fleet: Fleet) -> int:
    with fleet.toy.ledger.read() as tx:
        return versions.get_aliases(tx, "toy")["champion"]


def another(fleet: Fleet) -> int:
    return champion(fleet) % len(VERSIONS) + 1


def converge(fleet: Fleet, members: list[Member], generation: int) -> float:
    """Waits until every replica serves the generation; gives the seconds that it took."""
    started = time.monotonic()
    for member in members:
        wait_until(partial(member.serves, generation), f"generation {generation}", READY_S)
    return time.monotonic() - started


def require_pure(load: Load, expected: dict[int, tuple[Scores, ...]]) -> None:
    found = purity(load.answers, expected)
    assert load.failures == []
    assert found.told_apart > 0
    assert (found.impure, found.unknown) == (0, 0)


def kept(fleet: Fleet) -> tuple[int, int]:
    """Samples in the ledger: counted at ingestion, and distinct prediction ids."""
    with fleet.toy.ledger.read() as tx:
        ids = tx.execute(select(func.count(predictions.c.prediction_id.distinct()))).scalar_one()
        return samples.events_seen(tx, "toy"), int(ids)


def test_many_promotions_under_load(
    fleet: Fleet,
    serving: list[Member],
    expected: dict[int, tuple[Scores, ...]],
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """The lags are in the report of `pytest --junit-xml`; a test does not judge absolute times."""
    lags: list[float] = []
    with Load(urls(serving)) as load:
        lags.extend(converge(fleet, serving, promote(fleet, another(fleet))) for _ in range(PROMOTIONS))
    require_pure(load, expected)
    assert set(purity(load.answers, expected).by_version) == set(VERSIONS)
    record_testsuite_property("answers", len(load.answers))
    record_testsuite_property("median lag of all replicas, s", round(statistics.median(lags), 3))
    record_testsuite_property("longest lag, s", round(max(lags), 3))


def test_replicas_say_what_they_serve(fleet: Fleet, serving: list[Member]) -> None:
    generation = promote(fleet, another(fleet))
    converge(fleet, serving, generation)

    def told() -> bool:
        with fleet.toy.ledger.read() as tx:
            rows = {row.pid: row.generations.get("toy") for row in replicas.list_replicas(tx)}
        return [rows.get(member.pid) for member in serving] == [generation] * len(serving)

    wait_until(told, "every report")
    with ApiClient(serving[0].url) as client:
        told_by_api = client.call("GET", "/admin/v1/replicas")["replicas"]
    assert {row["pid"] for row in told_by_api} == {member.pid for member in serving}


def test_a_frozen_replica_comes_back_right(
    fleet: Fleet, serving: list[Member], expected: dict[int, tuple[Scores, ...]]
) -> None:
    *awake, frozen = serving
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        with Load(urls(awake)) as load:
            for _ in range(3):
                generation = promote(fleet, another(fleet))
                converge(fleet, awake, generation)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    converge(fleet, [frozen], generation)
    with Load([frozen.url]) as later:
        wait_until(lambda: len(later.answers) > 20, "answers")
    require_pure(load, expected)
    require_pure(later, expected)
    assert {answer.version for answer in later.answers} == {champion(fleet)}


def test_a_killed_replica_is_replaced_and_the_others_go_on(
    fleet: Fleet, serving: list[Member], expected: dict[int, tuple[Scores, ...]]
) -> None:
    *stay, killed = serving
    with Load(urls(stay)) as load:
        killed.kill()
        generation = promote(fleet, another(fleet))
        new = fleet.start("serve")
        wait_until(new.ready, "readiness", READY_S)
        assert new.serves(generation)  # ready only when converged
        converge(fleet, stay, generation)
    require_pure(load, expected)
    serving[-1] = new


def test_a_killed_monitor_is_followed_by_the_other(fleet: Fleet, serving: list[Member]) -> None:
    """Nothing is lost, nothing is counted twice: every answered sample is in the ledger once."""
    before, _ = kept(fleet)
    with Load(urls(serving), sample=True) as load:
        wait_until(lambda: kept(fleet)[0] > before + 50, "samples")
        first = fleet.active_monitor()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: fleet.active_monitor() not in {0, first}, "the other monitor")
        at_takeover = kept(fleet)[0]
        wait_until(lambda: kept(fleet)[0] > at_takeover + 50, "more samples")
    assert load.failures == []
    total = before + len(load.answers)
    wait_until(lambda: kept(fleet)[0] >= total, "every sample")
    assert kept(fleet) == (total, total)
    fleet.start("monitor")


def test_a_killed_worker_is_followed_by_the_other(fleet: Fleet, serving: list[Member]) -> None:
    """The job ends once, and what it made is served everywhere."""
    toy = fleet.toy
    # Version 1 was trained; the others are drawn, of another rank.
    converge(fleet, serving, promote(fleet, 1))
    first_seq = toy.stream(toy_rows("shop", 400), version=champion(fleet), name="job")
    job = toy.open_job(first_seq, "shop")
    configure(fleet.settings)
    nudge(job.id)
    wait_until(lambda: trains(toy, job.id) or toy.job(job.id).finished_at, "training", READY_S)
    assert toy.job(job.id).status is JobStatus.RUNNING, toy.job(job.id).reason
    owner = toy.job(job.id).lease_owner
    assert owner is not None
    killed = next(member for member in fleet.members if f"{member.pid}" in owner.replace("-", ":").split(":"))
    killed.kill()
    wait_until(lambda: toy.job(job.id).finished_at, "the end of the job", READY_S)
    ended = toy.job(job.id)
    assert (ended.attempts, ended.lease_token) == (2, 2)
    assert ended.status in {JobStatus.PROMOTED, JobStatus.HELD, JobStatus.REJECTED}
    with toy.ledger.read() as tx:
        assert [row.job_id for row in versions.list_versions(tx, "toy")].count(job.id) <= 1
        assert jobs.in_flight(tx, "toy") is None
