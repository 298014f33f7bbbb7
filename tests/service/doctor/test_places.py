"""Ledger, Redis and store: reachable, new enough, in time, and told what is wrong when they are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.doctor import Check, Verdict
from service.doctor.places import (
    _clock,
    _engine,
    _redis_file,
    _redis_policy,
    _redis_version,
    check_ledger,
    check_redis,
    check_store,
)
from service.valkey import ValkeyServer
from tests.fixtures.deployment import Deployment
from trimtab.ledger.migrate import downgrade
from trimtab.settings import LedgerSettings, RedisSettings, Settings, StoreSettings


def by_name(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def verdicts(checks: Iterator[Check]) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in checks}


def test_a_ledger_that_is_well(toy: Deployment) -> None:
    assert verdicts(check_ledger(toy.settings)) == dict.fromkeys(
        ("ledger", "schema", "ledger's clock"), Verdict.OK
    )


@pytest.mark.parametrize(
    "present, advice", [(None, "trimtab migrate"), ("0000", "trimtab migrate"), ("9999", "newer release")]
)
def test_a_schema_that_does_not_fit_is_told(toy: Deployment, present: str | None, advice: str) -> None:
    with toy.ledger.begin() as tx:
        if present is None:
            downgrade(tx, "base")
        else:
            tx.exec_driver_sql("UPDATE alembic_version SET version_num = ?", (present,))
    schema = by_name(check_ledger(toy.settings))["schema"]
    assert (schema.verdict, advice in schema.advice) == (Verdict.FAIL, True)


def test_a_database_that_does_not_answer_is_told(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, ledger=LedgerSettings(url=f"postgresql://nobody:hidden@/none?host={tmp_path}")
    )
    (check,) = check_ledger(settings)
    assert check.verdict is Verdict.FAIL
    assert "hidden" not in check.detail


@pytest.mark.system
def test_a_password_is_not_shown(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue("postgres").url("postgres").replace("trimtab@", "trimtab:hidden@")
    checks = by_name(check_ledger(Settings(home=tmp_path, ledger=LedgerSettings(url=url))))
    assert checks["ledger"].verdict is Verdict.OK
    assert "postgresql" in checks["ledger"].detail
    assert "hidden" not in str(checks)
    assert checks["schema"].verdict is Verdict.FAIL


def test_an_old_postgresql_is_told(toy: Deployment) -> None:
    with toy.ledger.read() as tx:
        tx.dialect.name, tx.dialect.server_version_info = "postgresql", (12, 3)
        try:
            assert _engine(tx, "u").verdict is Verdict.FAIL
            tx.dialect.server_version_info = (15, 18)
            assert _engine(tx, "u").verdict is Verdict.OK
        finally:
            tx.dialect.name = "sqlite"


def test_a_redis_that_is_well(toy: Deployment) -> None:
    names = ("redis", "redis, memory", "redis, disk", "redis' clock")
    found = by_name(check_redis(toy.settings))
    assert {name: found[name].verdict for name in names} == dict.fromkeys(names, Verdict.OK)
    assert "valkey" in found["redis"].detail


def test_a_redis_that_may_lose_samples_is_told(valkey: ValkeyServer) -> None:
    import redis

    with redis.Redis.from_url(valkey.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = by_name(check_redis(Settings(redis=RedisSettings(url=valkey.url))))
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert found["redis, memory"].verdict is Verdict.WARN
    assert "allkeys-lru" in found["redis, memory"].detail
    assert _redis_policy({}).verdict is Verdict.WARN
    assert _redis_file({"aof_enabled": 0}).verdict is Verdict.WARN
    assert _redis_version({"redis_version": "6.0.16"}).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    "url, verdict", [("redis://127.0.0.1:1", Verdict.FAIL), (None, Verdict.WARN), ("x://", Verdict.FAIL)]
)
def test_a_redis_that_does_not_answer_is_told(url: str | None, verdict: Verdict, tmp_path: Path) -> None:
    """The embedded one is away as long as nothing is up."""
    (check,) = check_redis(Settings(home=tmp_path, redis=RedisSettings(url=url)))
    assert check.verdict is verdict


@pytest.mark.parametrize(
    "skew_s, verdict", [(0.5, Verdict.OK), (-1.9, Verdict.OK), (3.0, Verdict.WARN), (-60.0, Verdict.WARN)]
)
def test_clocks_that_differ_are_told(skew_s: float, verdict: Verdict) -> None:
    check = _clock("clock", skew_s)
    assert check.verdict is verdict
    assert ("ahead" in check.detail) is (skew_s > 0)


def test_a_store_is_read_and_written_and_left_as_it_was(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    found = by_name(check_store(toy.settings))
    assert {check.verdict for check in found.values()} == {Verdict.OK}
    assert "1 versions" in found["store"].detail
    probes = toy.settings.home / "store" / "probes"
    assert not probes.exists() or not list(probes.iterdir())


def test_looking_makes_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    assert verdicts(check_store(settings)) == {"store": Verdict.WARN}
    assert verdicts(check_ledger(settings)) == {"ledger": Verdict.FAIL}
    assert not settings.home.exists()


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/probes").write_text("in the way")
    found = by_name(
        check_store(Settings(home=tmp_path, store=StoreSettings(url=(tmp_path / "store").as_uri())))
    )
    assert (found["store"].verdict, found["store, writing"].verdict) == (Verdict.OK, Verdict.WARN)
