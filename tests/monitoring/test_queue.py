"""The depth of the queue: what Celery itself put there, and nothing while Redis is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis
from prometheus_client import REGISTRY
from redis.backoff import NoBackoff
from redis.retry import Retry

from monitoring.monitor import tick
from monitoring.queue import Queue
from monitoring.station import Station
from tests.monitoring.conftest import Place
from trimtab.settings import RedisSettings, Settings, TrainingSettings
from workers.app import configure, nudge


def depth(queue: str) -> float | None:
    return REGISTRY.get_sample_value("trimtab_queue_depth", {"queue": queue})


def test_messages_that_no_worker_took_are_counted(
    valkey: Any, redis_client: redis.Redis, tmp_path: Path
) -> None:
    training = TrainingSettings(queue="adapt-slowly")
    configure(Settings(home=tmp_path, redis=RedisSettings(url=valkey.url), training=training))
    queue = Queue(redis_client, "adapt-slowly")
    queue.show()
    assert depth("adapt-slowly") == 0.0
    for job in ("first", "second"):
        nudge(job)
    queue.show()
    assert depth("adapt-slowly") == 2.0


def test_the_monitor_shows_its_queue_in_every_round(place: Place, station: Station) -> None:
    station.queue.client.rpush(place.settings.training.queue, "a message")
    assert tick(station)
    assert depth(place.settings.training.queue) == 1.0


def test_nothing_is_shown_while_redis_is_away(redis_client: redis.Redis, tmp_path: Path) -> None:
    Queue(redis_client, "adapt").show()
    assert depth("adapt") == 0.0
    away = redis.Redis(unix_socket_path=str(tmp_path / "nobody.sock"), retry=Retry(NoBackoff(), 0))
    Queue(away, "adapt").show()
    assert depth("adapt") is None
