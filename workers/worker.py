"""The worker process: Celery with the solo pool, which only supervises; the training runs in a child process."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from celery.signals import worker_ready
from celery.worker import state
from prometheus_client import start_http_server

from trimtab.errors import LedgerUnavailable
from trimtab.ledger import Ledger
from trimtab.ledger.consumers import forget_worker, report_worker
from trimtab.settings import Settings
from workers.app import configure

REPORT_S = 10.0
ALIVE_S = 3 * REPORT_S

_log = logging.getLogger(__name__)


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
    name = f"trimtab-{os.getpid()}@{socket.gethostname()}"
    worker = app.Worker(
        pool="solo",
        queues=[settings.training.queue],
        hostname=name,
        loglevel="INFO",
        without_mingle=True,
        without_gossip=True,
        quiet=True,
    )
    with reported(settings, name):
        worker.start()
    return int(worker.exitcode or 0)


@contextmanager
def reported(settings: Settings, name: str) -> Iterator[None]:
    """Keeps saying in the ledger that this worker takes jobs, from a thread: a solo worker is busy with its job."""
    over = threading.Event()
    thread = threading.Thread(target=_keep_reporting, args=(settings, name, over), name="report", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)


def _keep_reporting(settings: Settings, name: str, over: threading.Event) -> None:
    ledger, queue = Ledger(settings.ledger_url), settings.training.queue
    try:
        while True:
            try:
                with ledger.begin() as tx:
                    report_worker(tx, queue, name, ALIVE_S)
            except LedgerUnavailable as error:
                _log.warning("the worker cannot report itself: %s", error)
            if over.wait(REPORT_S):
                break
        with suppress(LedgerUnavailable), ledger.begin() as tx:
            forget_worker(tx, queue, name)
    finally:
        ledger.close()


def stopping() -> bool:
    """Whether this worker was asked to stop (a solo worker's signal handler runs between two steps of its task)."""
    flags: tuple[object, ...] = (state.should_stop, state.should_terminate)  # None, False or an exit status
    return any(flag is not None and flag is not False for flag in flags)
