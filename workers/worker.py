"""The worker process: Celery with the solo pool, which only supervises; the training runs in a child process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from celery.signals import worker_ready
from celery.worker import state
from prometheus_client import start_http_server

from trimtab.settings import Settings
from workers.app import configure


def run_worker(settings: Settings, ready: Callable[[], None] = lambda: None) -> int:
    """Runs a worker in this process until SIGTERM or SIGINT; returns its exit status.

    Call it from the main thread: signals are handled there, and the trainer's death signal is tied to it.
    SIGTERM in the middle of a job stops the trainer and gives the job back to the queue.
    """
    app = configure(settings)
    if settings.worker.metrics_port:
        start_http_server(settings.worker.metrics_port)

    def tell(**_: Any) -> None:
        ready()

    worker_ready.connect(tell, weak=False)
    worker = app.Worker(
        pool="solo",
        queues=[settings.training.queue],
        hostname=f"trimtab-{os.getpid()}@{socket.gethostname()}",
        loglevel="INFO",
        without_mingle=True,
        without_gossip=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def stopping() -> bool:
    """Whether this worker was asked to stop (a solo worker's signal handler runs between two steps of its task)."""
    flags: tuple[object, ...] = (state.should_stop, state.should_terminate)  # None, False or an exit status
    return any(flag is not None and flag is not False for flag in flags)
