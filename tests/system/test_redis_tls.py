"""Redis by URL with TLS and a password: samples, nudges, hints and the doctor all go through it, verified."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis

from service.doctor import Verdict
from service.doctor.places import check_redis
from service.hints import HintListener, send_hint
from tests.fixtures.ledgers import sample
from tests.fixtures.tls_redis import running_tls_redis, tls_redis_binary
from trimtab.errors import QueueUnavailable
from trimtab.samples import SampleBlock, SampleStream
from trimtab.settings import RedisSettings, Settings
from workers.app import configure, nudge

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary = tls_redis_binary()
    if binary is None:
        pytest.skip("redis-server is not installed: tests/system/install.sh installs it")
    with running_tls_redis(binary, tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as client:
        client.flushall()
        yield client


def unverified(url: str) -> str:
    """The same server, by a client that does not know who signed its certificate."""
    return url.partition("?")[0]


def test_samples_go_through(client: redis.Redis) -> None:
    stream = SampleStream(client, 100)
    stream.publish(SampleBlock(block_id="b", replica="r", samples=(sample(1, observed_at=1.0),)))
    ((_, block),) = stream.read("monitor", 10, block_ms=1, claim_idle_ms=1)
    assert block.samples[0].prediction_id == "p1"


def test_nudges_go_through_and_only_to_a_server_that_is_known(url: str, client: redis.Redis) -> None:
    configure(Settings(redis=RedisSettings(url=url)))
    nudge("job-1")
    assert client.llen("adapt") == 1
    configure(Settings(redis=RedisSettings(url=unverified(url))))
    with pytest.raises(QueueUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        nudge("job-2")
    assert client.llen("adapt") == 1


def test_a_wrong_password_is_told(url: str) -> None:
    configure(Settings(redis=RedisSettings(url=url.replace("rediss://:", "rediss://:no"))))
    with pytest.raises(QueueUnavailable):
        nudge("job-3")


def test_hints_go_through(client: redis.Redis) -> None:
    woken = threading.Event()
    listener = HintListener(client, woken)
    listener.start()
    try:
        assert woken.wait(10.0)  # it looks once when it has subscribed
        woken.clear()
        assert send_hint(client, "toy")
        assert woken.wait(10.0)
    finally:
        listener.close(5.0)


def test_the_doctor_sees_it(url: str) -> None:
    assert {check.verdict for check in check_redis(Settings(redis=RedisSettings(url=url)))} == {Verdict.OK}
    (check,) = check_redis(Settings(redis=RedisSettings(url=unverified(url))))
    assert check.verdict is Verdict.FAIL
    assert "p%40ss" not in check.detail
