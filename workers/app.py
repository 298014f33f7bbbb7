"""The Celery application. Imports no torch: a process that may fork must not hold its threads.

A message is only a nudge that carries a job id; the truth is the job's row and its lease in the ledger. So a lost
message costs time (the monitor nudges again) and a repeated one nothing (the lease is taken).
"""

from __future__ import annotations

import re

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from trimtab.errors import QueueUnavailable, SettingsError
from trimtab.settings import Settings

TASK = "trimtab.adapt"

app = Celery("trimtab", include=["workers.tasks"])


def configure(settings: Settings) -> Celery:
    """Points the app at this process's Redis and queue. Called once by an entry point, before anything else."""
    url = celery_url(settings.redis_url)
    app.conf.update(
        broker_url=url,
        trimtab_settings=settings,
        task_default_queue=settings.training.queue,
        # A lost worker's message comes back after about 2 minutes (kombu's own cadence would make it later).
        broker_transport_options={
            "visibility_timeout": 120,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 15,
            "socket_connect_timeout": 5,
            "socket_keepalive": url.startswith(("redis:", "rediss:")),
            "health_check_interval": 10,
            "retry_on_timeout": True,
        },
        redis_socket_timeout=10.0,
        redis_socket_connect_timeout=5.0,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
    )
    return app


def configured_settings() -> Settings:
    """The settings given to `configure`; raises SettingsError when it was not called."""
    settings = app.conf.get("trimtab_settings")
    if not isinstance(settings, Settings):
        raise SettingsError("the Celery app is not configured: start the worker by `trimtab worker`")
    return settings


def celery_url(redis_url: str) -> str:
    """The URL as kombu wants it: `redis+socket:///path` for redis-py's `unix:///path`.

    With TLS it says that certificates are verified, as redis-py does by itself: kombu would not.
    """
    if redis_url.startswith("rediss://") and "ssl_cert_reqs=" not in redis_url:
        return f"{redis_url}{'&' if '?' in redis_url else '?'}ssl_cert_reqs=required"
    return re.sub("^unix://", "redis+socket://", redis_url)


def nudge(job_id: str) -> None:
    """Tells a worker that this job can be claimed. Raises QueueUnavailable; then the monitor nudges again later."""
    try:
        # A connection of its own: nudges are rare, and a pooled one may have died with an earlier Redis.
        with app.connection_for_write() as connection:
            app.send_task(TASK, args=[job_id], connection=connection, retry=False)
    except (OperationalError, RedisError, OSError) as error:
        raise QueueUnavailable(f"Redis cannot be reached: {error}") from None
