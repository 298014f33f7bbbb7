"""What holds for every test: a clean environment, few threads, no model hub, and in CI no silent skip."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
import redis

from service.valkey import ValkeyServer, start_valkey

if TYPE_CHECKING:
    from tests.fixtures.postgres import PostgresServer
    from tests.fixtures.s3 import S3Server

# Before anything imports numpy or torch: several thread pools on two cores only fight each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

NO_SKIPS = "TRIMTAB_TEST_NO_SKIPS"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test starts from the default settings, whatever the developer's shell exports."""
    for name in [name for name in os.environ if name.startswith("TRIMTAB_") and name != NO_SKIPS]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def tiny_base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a tiny random BERT (see fixtures/tiny_base.py)."""
    from tests.fixtures.tiny_base import build_tiny_base

    return build_tiny_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A real Valkey for the whole session; a test that stops or kills one starts its own."""
    directory = tmp_path_factory.mktemp("valkey")
    with TemporaryDirectory(prefix="tt-") as short:
        server = start_valkey(Path(short) / "valkey.sock", data=directory, log=directory / "valkey.log")
        yield server
        server.stop()


@pytest.fixture
def redis_client(valkey: ValkeyServer) -> Iterator[redis.Redis]:
    """A client of the session's Valkey, emptied before the test."""
    client = redis.Redis.from_url(valkey.url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL for the whole session, where one is installed (in CI it is)."""
    from tests.fixtures.postgres import postgres_binaries, running_postgres

    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: tests/system/install.sh installs it")
    with running_postgres(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real S3 server for the whole session."""
    from tests.fixtures.s3 import running_s3

    with running_s3() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket, with the environment that leads to it."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3.create_bucket()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skip is a failure: what cannot run there is not tested anywhere."""
    report = yield
    if os.environ.get(NO_SKIPS) and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and {NO_SKIPS} is set: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module that skips itself while it is collected."""
    report = yield
    if os.environ.get(NO_SKIPS) and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, and {NO_SKIPS} is set: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
