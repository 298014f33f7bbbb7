from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from service.valkey import ValkeyServer
from trimtab.errors import QueueUnavailable, SettingsError
from trimtab.settings import RedisSettings, Settings, TrainingSettings
from workers.app import TASK, app, celery_url, configure, configured_settings, nudge


@pytest.mark.parametrize(
    "url, celerys",
    [
        ("unix:///run/v.sock", "redis+socket:///run/v.sock"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        # Without this kombu would not verify whom it sends the password to.
        ("rediss://:secret@host/1", "rediss://:secret@host/1?ssl_cert_reqs=required"),
        ("rediss://host?ssl_ca_certs=/ca.pem", "rediss://host?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"),
        ("rediss://host?ssl_cert_reqs=none", "rediss://host?ssl_cert_reqs=none"),
    ],
)
def test_urls(url: str, celerys: str) -> None:
    assert celery_url(url) == celerys


def test_a_nudge_is_one_json_message_with_the_job_id(valkey: ValkeyServer, redis_client: redis.Redis) -> None:
    configure(Settings(redis=RedisSettings(url=valkey.url), training=TrainingSettings(queue="gpu-jobs")))
    nudge("job-1")
    (message,) = redis_client.lrange("gpu-jobs", 0, -1)
    envelope = json.loads(message)
    assert envelope["headers"]["task"] == TASK
    assert envelope["content-type"] == "application/json"


def test_a_nudge_without_redis_says_so(tmp_path: Path) -> None:
    configure(Settings(redis=RedisSettings(url=f"unix://{tmp_path}/nobody.sock")))
    with pytest.raises(QueueUnavailable, match="Redis cannot be reached"):
        nudge("job-1")


def test_messages_are_json_only_and_acknowledged_late() -> None:
    configure(Settings())
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.task_ignore_result


def test_an_unconfigured_app_says_what_to_do() -> None:
    code = "from workers.app import configured_settings; configured_settings()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert SettingsError.__name__ in run.stderr
    assert "trimtab worker" in run.stderr


def test_settings_come_back() -> None:
    settings = Settings(device="cpu")
    configure(settings)
    assert configured_settings() is settings
