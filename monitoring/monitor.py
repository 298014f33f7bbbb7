"""The monitor: samples in, one check after the other, and a job when inputs have drifted.

`tick` is one round and reads from top to bottom. One monitor works at a time (a lease by the database's clock);
others stand by. Whatever is away, the round goes on with the rest: without Redis the ledger is still watched, without
the ledger nothing is acknowledged and nothing is lost.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from monitoring.chores import advance_waiting_jobs, keep_asking
from monitoring.gauges import show_memory, show_missing
from monitoring.station import LEASE, Station, open_station
from monitoring.trials import attend_trial
from monitoring.watch import watch_model
from trimtab.errors import LedgerUnavailable
from trimtab.ledger import examples, jobs, locks, models
from trimtab.metrics import MONITOR_ERRORS
from trimtab.settings import Settings

log = logging.getLogger(__name__)


def run_monitor(
    settings: Settings, nudge: Callable[[str], None], stop: threading.Event, ready: Callable[[], None]
) -> None:
    """Tick until `stop` is set.

    Args:
        settings: Of this process.
        nudge: Sends the id of a job to the workers' queue.
        stop: Ends the loop after the round under way.
        ready: Called once, after the first round that reached the ledger.

    Raises:
        SettingsError: the budget, the store or the public key cannot be used.
    """
    if settings.monitor.metrics_port:
        start_http_server(settings.monitor.metrics_port)
    with open_station(settings, nudge) as station:
        started = False
        while not stop.is_set():
            with _surviving("tick"):
                if not started:
                    station.ledger.migrate()
                tick(station)
                if not started:
                    ready()
                started = True
            stop.wait(settings.monitor.tick_s)


def tick(station: Station) -> bool:
    """One round; False while another monitor holds the lease.

    Raises:
        LedgerUnavailable: nothing more can be done in this round; the next one begins where this one stopped.
    """
    with station.ledger.begin() as tx:
        if not locks.hold(tx, LEASE, station.owner, station.settings.monitor.lease_s):
            return False
    station.intake.take_in()
    with station.ledger.read() as tx:
        names = [model.name for model in models.list_models(tx)]
    for name in names:
        with _surviving("trial"):
            attend_trial(station, name)
        with _surviving("model"):
            watch_model(station, name)
    with _surviving("jobs"):
        look_after_jobs(station)
    with _surviving("renewing"):
        station.renewing.renew()
    with _surviving("labels"):
        station.asking.ask()
    station.queue.show()
    station.expiry.expire()
    return True


def look_after_jobs(station: Station) -> None:
    """Queue jobs whose labels came or whose deadline passed, and nudge the jobs that nobody works on."""
    with station.ledger.begin() as tx:
        queued = advance_waiting_jobs(tx, station.settings.training)
        keep_asking(tx, station.settings.training)
        asking = jobs.asking_jobs(tx)
        claimable = jobs.claimable_jobs(tx)
        sizes = examples.memory_sizes(tx)
    show_memory(sizes)
    show_missing({job.model: job.missing or {} for job in reversed(asking)})
    for job_id in queued:
        station.nudger.nudge(job_id)
    station.nudger.nudge_claimable(claimable)


@contextmanager
def _surviving(step: str) -> Iterator[None]:
    """The loop must go on: whatever a step raises is logged and counted; a ledger that is away ends the round."""
    try:
        yield
    except LedgerUnavailable as error:
        if step != "tick":
            raise
        log.warning("the ledger is away", extra={"error": str(error)})
        MONITOR_ERRORS.labels("ledger").inc()
    except Exception:
        log.exception("a step of the monitor failed", extra={"step": step})
        MONITOR_ERRORS.labels(step).inc()
