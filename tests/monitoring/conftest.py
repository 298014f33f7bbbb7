"""A place with everything the monitor meets: a ledger, a store with signed versions, a stream on a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from monitoring.monitor import tick
from monitoring.station import Station, open_station
from tests.fixtures.references import LABELS, traffic, version_with_references
from trimtab.adapter import create_keys, load_private_key
from trimtab.drift import DriftReport, MonitorState
from trimtab.features import Floats, References
from trimtab.jobs import AdaptationJob
from trimtab.ledger import Ledger, feedback, jobs, models, reports, samples, versions
from trimtab.ledger.feedback import FeedbackItem
from trimtab.ledger.versions import VersionState
from trimtab.samples import Sample, SampleBlock, SampleStream
from trimtab.settings import (
    DriftSettings,
    MonitorSettings,
    PolicySettings,
    RedisSettings,
    Settings,
    TrainingSettings,
)
from trimtab.store import AdapterStore

MODEL = "sentiment"
WINDOW = 100
BLOCK = 10
DRIFT = 1.5  # shift of a new domain, in standard deviations


@dataclass
class Place:
    """Plays the API (sends samples), the users (label), the worker (promotes) and counts the nudges."""

    settings: Settings
    ledger: Ledger
    store: AdapterStore
    stream: SampleStream
    nudged: list[str] = field(default_factory=list)
    n_sent: int = 0

    def add_version(self, n: int, rows: dict[str, Floats] | References, job_id: str | None = None) -> str:
        """Store and promote a version that knows these domains; returns its digest."""
        key = load_private_key(self.settings.private_key_path)
        digest = self.store.put(version_with_references(key, rows, version=n))
        with self.ledger.begin() as tx:
            if job_id is not None:
                assert versions.reserve_version(tx, MODEL, job_id) == n
            versions.record_version(tx, MODEL, n, digest, n - 1 or None, VersionState.ACCEPTED, manifest={})
            versions.promote(tx, MODEL, n, actor="test", reason="test")
        return digest

    def block(self, rows: Floats, version: int = 1, client: str = "anonymous") -> SampleBlock:
        """The next samples of this replica, as a block."""
        made = [self._sample(row, version, client) for row in rows]
        return SampleBlock(f"block-{self.n_sent}", "replica-1", tuple(made))

    def send(self, rows: Floats, version: int = 1, client: str = "anonymous") -> str:
        """Publish a block; returns its stream id."""
        return self.stream.publish(self.block(rows, version, client))

    def label(self, first: int, last: int, *, right: bool | None = None) -> None:
        """True labels for the samples numbered first to last (from 1); all are predicted "pos"."""
        items = [
            FeedbackItem(
                prediction_id=f"p{n}", label=LABELS[n % 2 if right is None else right], annotator="user"
            )
            for n in range(first, last + 1)
        ]
        with self.ledger.begin() as tx:
            feedback.record_feedback(tx, items)

    def state(self) -> MonitorState:
        with self.ledger.read() as tx:
            state = reports.load_state(tx, MODEL)
        assert state is not None
        return state

    def reports(self) -> list[DriftReport]:
        with self.ledger.read() as tx:
            return reports.list_reports(tx, MODEL, limit=1000)

    def jobs(self) -> list[AdaptationJob]:
        with self.ledger.read() as tx:
            return jobs.list_jobs(tx, model=MODEL)

    def n_samples(self) -> int:
        with self.ledger.read() as tx:
            return samples.events_seen(tx, MODEL)

    def _sample(self, row: np.ndarray, version: int, client: str) -> Sample:
        self.n_sent += 1
        return Sample(
            prediction_id=f"p{self.n_sent}",
            model=MODEL,
            version=version,
            generation=version,
            text=f"text number {self.n_sent}",
            label="pos",
            score=0.75,
            domain=None,
            group=None,
            client=client,
            observed_at=2e9 + self.n_sent,
            features=tuple(float(x) for x in row),
        )


def settings_in(home: Path, redis_url: str, **groups: Any) -> Settings:
    """Small windows, no pauses, few labels needed."""
    values: dict[str, Any] = {
        "home": home,
        "redis": RedisSettings(url=redis_url),
        "drift": DriftSettings(
            window=WINDOW,
            long_window=2 * WINDOW,
            check_every=BLOCK,
            check_every_s=1e-6,
            false_alarm_budget="1 per 100000 events",
        ),
        "policy": PolicySettings(cooldown_s=0.0, watch_events=150),
        "training": TrainingSettings(
            min_train_labels=5, min_selection_labels=1, min_gate_labels=10, min_labels_per_class=1
        ),
        "monitor": MonitorSettings(tick_s=0.01, lease_s=5.0, renudge_s=3600.0),
    }
    return Settings(**(values | groups))


def open_place(settings: Settings) -> Place:
    """A model without versions, and keys."""
    create_keys(settings.private_key_path, settings.public_key_path)
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    with ledger.begin() as tx:
        models.create_model(tx, MODEL, LABELS, "none", "b" * 64)
    client = redis.Redis.from_url(settings.redis_url)
    return Place(settings, ledger, AdapterStore(settings.store_url), SampleStream(client))


@pytest.fixture
def place(tmp_path: Path, redis_client: redis.Redis, valkey: Any) -> Iterator[Place]:
    """Version 1 knows the domain "movie" (shift 0)."""
    opened = open_place(settings_in(tmp_path, valkey.url))
    opened.add_version(1, {"movie": traffic(300, 0.0, seed=1)})
    yield opened
    opened.ledger.close()


@pytest.fixture
def station(place: Place) -> Iterator[Station]:
    """The monitor of the place, calibrated."""
    with ExitStack() as stack:
        opened = stack.enter_context(open_station(place.settings, place.nudged.append))
        calibrated(opened, place)
        yield opened


def calibrated(station: Station, place: Place) -> None:
    """Load the champion's baseline and wait for its thresholds."""
    with place.ledger.read() as tx:
        champion = versions.get_aliases(tx, MODEL)["champion"]
        digest = versions.get_version(tx, MODEL, champion).digest
    assert digest is not None
    station.baselines.of(champion, digest)
    station.baselines.wait_until_calibrated(60.0)
    assert station.baselines.of(champion, digest).calibrated


def feed(place: Place, station: Station, n: int, shift: float, *, version: int = 1, step: int = 20) -> None:
    """Send n samples of a domain in blocks, with a tick after each."""
    for i in range(0, n, step):
        place.send(traffic(min(step, n - i), shift, seed=1000 + place.n_sent), version)
        assert tick(station)
