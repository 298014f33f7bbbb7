"""Everything that a round of the monitor needs, opened and closed in one place."""

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from monitoring.asking import Asking
from monitoring.baselines import Baselines
from monitoring.calibration import checks_per_alarm
from monitoring.chores import Expiry, Nudger
from monitoring.detector import Windows
from monitoring.detectors import Detectors
from monitoring.intake import Intake
from monitoring.policy import Rules
from monitoring.queue import Queue
from monitoring.renewing import Renewing
from trimtab.adapter import load_public_key
from trimtab.errors import LedgerUnavailable, SettingsError
from trimtab.ledger import Ledger, locks
from trimtab.samples import SampleStream
from trimtab.settings import DriftSettings, Settings
from trimtab.store import AdapterStore

LEASE = "monitor"


@dataclass(frozen=True)
class Station:
    """All that a round needs; opened by `open_station`, which says who owns what."""

    settings: Settings
    ledger: Ledger
    intake: Intake
    baselines: Baselines
    detectors: Detectors
    nudger: Nudger
    expiry: Expiry
    asking: Asking
    renewing: Renewing
    queue: Queue
    rules: Rules
    owner: str


@contextmanager
def open_station(settings: Settings, nudge: Callable[[str], None]) -> Iterator[Station]:
    """Open the ledger, the stream, the store and the calibration thread, and close them at the end."""
    ledger = Ledger(settings.ledger_url)
    # No retries: a round without Redis is better than a round that waits for it.
    retry = Retry(NoBackoff(), 0)
    client = redis.Redis.from_url(
        settings.redis_url, socket_timeout=5.0, socket_connect_timeout=2.0, retry=retry
    )
    retention_s = settings.samples.retention_s
    baselines = _open_baselines(settings)
    station = Station(
        settings=settings,
        ledger=ledger,
        intake=Intake(
            ledger, SampleStream(client, settings.samples.stream_maxlen), keep_text=retention_s > 0
        ),
        baselines=baselines,
        detectors=Detectors(baselines.windows),
        nudger=Nudger(nudge, settings.monitor.renudge_s),
        expiry=Expiry(ledger, retention_s, settings.memory.retention_s),
        asking=Asking(ledger, settings.labels),
        renewing=Renewing(ledger, settings.gate, settings.labels),
        queue=Queue(client, settings.training.queue),
        rules=Rules.of(settings.drift, settings.policy),
        owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
    )
    try:
        yield station
    finally:
        with suppress(LedgerUnavailable), ledger.begin() as tx:
            locks.release(tx, LEASE, station.owner)
        baselines.close()
        client.close()
        ledger.close()


def _open_baselines(settings: Settings) -> Baselines:
    windows = windows_of(settings.drift)
    return Baselines(
        AdapterStore(settings.store_url),
        load_public_key(settings.public_key_path),
        settings.home / "cache",
        windows=windows,
        checks=checks_of(settings.drift),
    )


def windows_of(drift: DriftSettings) -> Windows:
    """Sizes of block and windows. Raises SettingsError."""
    try:
        return Windows(block=drift.check_every, short=drift.window, long=drift.long_window)
    except ValueError as error:
        raise SettingsError(f"TRIMTAB_DRIFT__WINDOW, LONG_WINDOW, CHECK_EVERY: {error}") from None


def checks_of(drift: DriftSettings) -> float:
    """Checks between two false alarms that the budget allows. Raises SettingsError."""
    try:
        return checks_per_alarm(drift.false_alarm_budget, drift.check_every, drift.check_every_s)
    except ValueError as error:
        raise SettingsError(f"TRIMTAB_DRIFT__FALSE_ALARM_BUDGET: {error}") from None
