"""A lease that is kept while its holder works in the same process: a thread renews it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from trimtab.errors import LedgerUnavailable
from trimtab.jobs import Lease
from trimtab.ledger import Ledger, jobs

_log = logging.getLogger(__name__)


@contextmanager
def kept(ledger: Ledger, lease: Lease, ttl_s: float) -> Iterator[None]:
    """Renews the lease every third of its time. That it is void the work itself notices, at its next report."""
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(ledger, lease, ttl_s, done), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _renew(ledger: Ledger, lease: Lease, ttl_s: float, done: threading.Event) -> None:
    holds = True
    while holds and not done.wait(ttl_s / 3):
        try:
            with ledger.begin() as tx:
                holds = jobs.renew(tx, lease, ttl_s)
        except LedgerUnavailable as error:
            _log.warning("the lease was not renewed: %s", error, extra={"job": lease.job_id})
