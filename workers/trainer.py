"""The trainer: one adaptation in a process of its own.

`python -m workers.trainer JOB_ID TOKEN --owner NAME --parent PID`

Started by the worker that holds the lease; ends with it (parent-death signal). Settings come from the environment.
SIGTERM ends it in order: an open transaction is rolled back, a version is published whole or not at all.
Exit codes: 0 the job has ended (whatever its verdict), 3 the lease is lost, 4 something is away for now, others: it
died. After 4 and others the worker gives the job back to the queue, for a bounded number of attempts.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import redis

from trimtab.adapter import load_private_key
from trimtab.errors import LeaseLost, Unavailable
from trimtab.jobs import REBASE, JobStatus, Lease
from trimtab.ledger import Ledger
from trimtab.ledger.jobs import check, finish
from trimtab.logs import set_up_logs
from trimtab.settings import Settings, read_settings

if TYPE_CHECKING:
    from workers.workshop import Workshop

LEASE_LOST, TRY_AGAIN = 3, 4
HINT_CHANNEL = "trimtab:generation"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Training gives way to serving on the same machine; on one of its own it costs nothing.
NICENESS = 5

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments, sets the process up and does the job."""
    arguments = _parse(argv)
    die_with_parent(arguments.parent)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's business
    os.nice(NICENESS)
    settings = read_settings()
    set_up_logs("trainer")
    load_private_key(settings.private_key_path)  # a missing key shows before seconds are spent on loading
    lease = Lease(job_id=arguments.job_id, owner=arguments.owner, token=arguments.token)
    return train(settings, lease) if holds(settings, lease) else LEASE_LOST


def holds(settings: Settings, lease: Lease) -> bool:
    """Whether the lease is still good: asked before seconds are spent on loading a model's libraries."""
    ledger = Ledger(settings.ledger_url)
    try:
        with ledger.read() as tx:
            check(tx, lease)
    except LeaseLost as error:
        _log.warning("lease lost: %s", error, extra={"job": lease.job_id})
        return False
    finally:
        ledger.close()
    return True


def train(settings: Settings, lease: Lease) -> int:
    """Does the job of the lease, and tells the replicas of what comes of it; returns the exit code."""
    import torch

    from workers.workshop import open_workshop

    torch.set_num_threads(settings.training.threads)
    with open_workshop(settings) as shop:
        ended = end_job(shop, lease)
    if isinstance(ended, int):
        return ended
    _log.info("adaptation ended", extra={"job": lease.job_id, "status": ended.value})
    if ended in {JobStatus.PROMOTED, JobStatus.ON_TRIAL}:
        send_hint(settings.redis_url)
    return 0


def end_job(shop: Workshop, lease: Lease) -> JobStatus | int:
    """The status that the job ended with, or the exit code that says why it goes on without this process.

    An exception ends the job as failed, with class and message as its reason.
    """
    from workers.adapt import run_adaptation
    from workers.rebase import run_rebase

    try:
        with shop.ledger.read() as tx:
            asked = check(tx, lease).cause.get("kind")
        return run_rebase(shop, lease) if asked == REBASE else run_adaptation(shop, lease)
    except LeaseLost as error:
        _log.warning("lease lost: %s", error, extra={"job": lease.job_id})
        return LEASE_LOST
    except Unavailable as error:
        _log.warning("not available: %s", error, extra={"job": lease.job_id})
        return TRY_AGAIN
    except Exception as error:  # noqa: BLE001  # whatever it is, the job must end with a reason
        _log.exception("adaptation failed", extra={"job": lease.job_id})
        with shop.ledger.begin() as tx:
            return finish(tx, lease, JobStatus.FAILED, reason=f"{type(error).__name__}: {error}").status


def send_hint(redis_url: str) -> None:
    """Tells the API's replicas to look now; best effort, because they poll anyway."""
    client = redis.Redis.from_url(redis_url, socket_timeout=2.0, socket_connect_timeout=2.0)
    with suppress(redis.RedisError, OSError), client:
        client.publish(HINT_CHANNEL, "promoted")


def die_with_parent(parent: int | None) -> None:
    """Asks the kernel (Linux) for SIGKILL when the parent dies, and ends at once if it is dead already."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        sys.exit(1)


def _stop(_signal: int, _frame: Any) -> None:
    sys.exit(128 + signal.SIGTERM)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.trainer", description=__doc__)
    parser.add_argument("job_id")
    parser.add_argument("token", type=int)
    parser.add_argument("--owner", required=True, help="the lease's owner")
    parser.add_argument("--parent", type=int, help="process id of the worker")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
